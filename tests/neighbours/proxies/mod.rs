//! Proxies that end TLS in front of the server: nginx, Caddy and HAProxy, each in front of the same facts.

mod beside;
mod caddy;
mod facts;
mod front;
mod haproxy;
mod nginx;
mod readme;

/// Declares a test of each fact for the proxy that `$start` starts.
macro_rules! facts_behind {
    ($need:expr, $start:path: $($fact:ident,)+) => {
        $(
            #[test]
            fn $fact() {
                if crate::install::installed(&[$need, crate::install::CURL, crate::install::OPENSSL]) {
                    super::facts::$fact($start);
                }
            }
        )+
    };
    ($need:expr, $start:path) => {
        crate::proxies::facts_behind! { $need, $start:
            a_browser_lives_through_sign_up_log_in_change_and_log_out,
            a_program_logs_in_refreshes_and_logs_out,
            basic_authentication_of_the_proxy_and_the_session_cookie_go_together,
            a_stripped_prefix_of_the_path_changes_nothing,
            the_network_of_each_client_is_seen_by_x_forwarded_for,
            the_network_of_each_client_is_seen_by_forwarded,
            a_proxy_that_is_not_trusted_is_reported_in_the_log_and_by_the_doctor,
            a_connection_is_used_again_after_ten_idle_seconds,
            an_event_of_the_feed_arrives_while_its_stream_is_open,
            large_headers_pass_and_too_large_ones_are_refused_by_the_server_s_own_answer,
            a_body_that_is_too_large_is_refused_by_the_server_s_own_answer,
            every_answer_has_the_headers_of_cors,
        }
    };
}
use facts_behind;

/// Declares the tests of an application beside the server for the proxy that `$start` starts with the lines of the README.
macro_rules! facts_beside {
    ($need:expr, $start:path) => {
        crate::proxies::facts_beside! { $need, $start:
            the_lines_of_the_readme_serve_both_at_the_root => "",
            the_lines_of_the_readme_serve_both_below_a_path => "/auth",
        }
    };
    ($need:expr, $start:path: $($fact:ident => $path:literal,)+) => {
        $(
            #[test]
            fn $fact() {
                if crate::install::installed(&[$need, crate::install::CURL, crate::install::OPENSSL]) {
                    super::beside::pages_and_interface_share_an_origin($start, $path);
                }
            }
        )+
    };
}
use facts_beside;
