//! The lines that the README gives to who runs a proxy.

use super::front::Plan;

const PAGE: &str = include_str!("../../../README.md");

/// Returns the block of `language`, with the ports of `plan`.
pub fn block(language: &str, plan: &Plan) -> String {
    let (_, rest) = PAGE.split_once(&format!("```{language}\n")).unwrap();
    let (block, _) = rest.split_once("```").unwrap();
    let ports = [("127.0.0.1:8080", plan.backend), ("127.0.0.1:3000", plan.application)];
    ports.iter().fold(block.to_owned(), |block, (shown, port)| {
        assert!(block.contains(shown), "no {shown} in {block}");
        block.replace(shown, &format!("127.0.0.1:{port}"))
    })
}

/// Returns the code within a sentence that begins with `beginning`.
pub fn code(beginning: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(&format!("`{beginning}")).unwrap();
    let (code, _) = rest.split_once('`').unwrap();
    let begin = PAGE.len() - rest.len() - beginning.len();
    &PAGE[begin..begin + beginning.len() + code.len()]
}
