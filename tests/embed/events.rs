//! Events, as a program reads them that keeps a row for each account.

use std::collections::BTreeMap;

use portcullis::testing::TestEngine;
use portcullis::{EventCursor, EventGap, NewAccount};

#[tokio::test]
async fn a_program_has_a_row_for_each_account_and_goes_on_where_it_was() {
    let auth = TestEngine::start().await.unwrap();
    let mut rows = BTreeMap::new();
    let mut events = auth.events(None);
    let ada =
        auth.accounts().create(NewAccount::new("ada@example.org").role("editor").verified()).await.unwrap();
    let cursor = loop {
        let event = events.next().await.unwrap().unwrap();
        if event.kind() == "account.created" {
            assert_eq!(event.account_id(), Some(ada.id()));
            assert_eq!(event.roles().collect::<Vec<_>>(), ["editor"]);
            assert!(event.to_json().contains("\"type\":\"account.created\""), "{}", event.to_json());
            assert!(!format!("{event:?}").contains("ada@"), "{event:?}");
            rows.insert(event.account().to_owned(), event.email().unwrap().to_owned());
            break event.cursor();
        }
    };
    drop(events);
    // The text of the cursor is what the program keeps.
    let cursor: EventCursor = cursor.to_string().parse().unwrap();
    let bob = auth.accounts().create(NewAccount::new("bob@example.org")).await.unwrap();
    auth.accounts().delete(ada.id()).await.unwrap();
    let mut events = auth.events(Some(cursor));
    let mut seen = Vec::new();
    while rows.len() != 1 || !rows.contains_key(&bob.id().to_string()) {
        let event = events.next().await.unwrap().unwrap();
        seen.push(event.kind());
        match event.kind() {
            "account.created" => {
                rows.insert(event.account().to_owned(), event.email().unwrap().to_owned());
            }
            "account.deleted" => {
                rows.remove(event.account());
            }
            _ => {}
        }
    }
    assert_eq!(seen.iter().filter(|kind| **kind == "account.created").count(), 1, "{seen:?}");
    // A cursor of another directory is told so, and what there is follows.
    let other: EventCursor = "00000000000000ab-7".parse().unwrap();
    let mut events = auth.events(Some(other));
    assert_eq!(events.next().await.unwrap().unwrap_err(), EventGap::OtherHistory);
    assert_eq!(events.next().await.unwrap().unwrap().kind(), "account.created");
    let waiting = tokio::spawn(async move { while events.next().await.is_some() {} });
    drop(auth);
    waiting.await.unwrap();
}
