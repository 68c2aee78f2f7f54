//! The family of a browser, from its `User-Agent`: enough to detect that a cookie has moved to another browser.

/// Returns the family of a `User-Agent`. Versions, systems and devices change over the life of a session; the browser
/// does not.
pub fn family(user_agent: &str) -> &str {
    // The order matters: most of them also name Chrome or Safari.
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
    fn a_family_survives_a_new_version_and_system_but_not_another_browser() {
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
