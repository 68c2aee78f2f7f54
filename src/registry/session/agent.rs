//! What kind of browser a user agent says it is: enough to see that a cookie has moved to another one.

/// The family of a user agent. Versions, systems and devices change over the life of a session; the browser does not.
pub fn family(user_agent: &str) -> &str {
    // In this order, since most of them also call themselves Chrome or Safari.
    const FAMILIES: [(&str, &str); 8] = [
        ("Edg", "Edge"),
        ("OPR/", "Opera"),
        ("SamsungBrowser/", "Samsung"),
        ("Firefox/", "Firefox"),
        ("FxiOS/", "Firefox"),
        ("CriOS/", "Chrome"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
    ];
    let known = FAMILIES.iter().find(|(mark, _)| user_agent.contains(mark)).map(|(_, family)| *family);
    known.unwrap_or_else(|| user_agent.split(['/', ' ']).next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_systems_are_no_other_family_and_another_browser_is() {
        const CHROME: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36";
        const EDGE: &str = "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Safari/537.36 Edg/130.0";
        const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0";
        for (agent, expected) in [
            (CHROME, "Chrome"),
            (EDGE, "Edge"),
            (FIREFOX, "Firefox"),
            ("curl/8.1", "curl"),
            ("test", "test"),
            ("", ""),
        ] {
            assert_eq!(family(agent), expected);
        }
        assert_eq!(family(&CHROME.replace("120.0", "131.0")), family(CHROME));
    }
}
