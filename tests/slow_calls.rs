//! Requests that wait for a target which does not answer keep no others
//! waiting.

mod support;

use std::time::Duration;

use support::server::Server;
use support::target_server::{Fault, TargetServer};
use tidegate::clock::{Clock, SystemClock};
use tidegate::config::{HttpSettings, TargetKind, TargetSettings};
use tidegate::domain::settings::default_target;

fn server(target: &TargetServer) -> Server {
    Server::with(|settings| {
        let mut http = HttpSettings::new(target.url());
        http.timeout = Duration::from_secs(5);
        let set = TargetSettings { kind: TargetKind::Http(http), ..TargetSettings::http(target.url()) };
        settings.targets = [(default_target(), set)].into();
    })
}

#[test]
fn a_server_answers_while_many_ask_what_is_wrong_and_a_target_does_not_answer() {
    let target = TargetServer::start();
    let server = server(&target);
    target.always(Fault::Hang);
    let clock = SystemClock::default();
    std::thread::scope(|scope| {
        for path in ["/api/v1/doctor", "/api/v1/targets", "/targets"] {
            for _ in 0..20 {
                scope.spawn(|| server.get(path));
            }
        }
        target.wait_for("", 1);
        // All of those that may have been taken up by now.
        std::thread::park_timeout(Duration::from_millis(500));
        for path in ["/readyz", "/metrics", "/api/v1/batches", "/queue", "/api/v1/dlq"] {
            let began = clock.monotonic();
            assert_eq!(server.get(path).status, 200, "{path}");
            let took = clock.monotonic() - began;
            assert!(took < Duration::from_secs(2), "{path}: {took:?}");
        }
        target.heal();
    });
}

#[test]
fn while_one_looks_at_everything_others_get_what_was_found_last() {
    let target = TargetServer::start();
    let server = server(&target);
    let first = server.fetch("/api/v1/doctor");
    target.forget_requests();
    target.always(Fault::Hang);
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| server.fetch("/api/v1/doctor"));
        target.wait_for("health", 1);
        assert_eq!(server.fetch("/api/v1/doctor"), first);
        let found = looking.join().unwrap();
        let of = |view: &serde_json::Value| {
            let checks = view["checks"].as_array().unwrap().clone();
            checks.into_iter().find(|check| check["check"] == "target catalogue").unwrap()["status"].clone()
        };
        assert_ne!(of(&found), of(&first), "{found}");
    });
}
