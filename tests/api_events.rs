//! What happens, told as it happens: order, coming again, many who listen, one
//! who does not read, and waiting for a batch.

mod support;

use std::io::Write;
use std::net::TcpStream;

use serde_json::Value;
use support::batches::{TestBatch, entity, says};
use support::server::{Heard, Server};

fn batch(time: u32) -> TestBatch {
    TestBatch::full("alpha", time).with([says(entity("a"), i64::from(time))])
}

fn number(heard: &Heard) -> u64 {
    heard.id.rsplit('-').next().unwrap().parse().unwrap()
}

#[test]
fn events_come_in_order_with_ids_and_tell_what_they_are_about() {
    let server = Server::new();
    let mut listener = server.follow(None);
    assert_eq!(listener.status, 200);
    assert!(listener.headers.contains(&("content-type".into(), "text/event-stream".into())));
    let id = server.publish(&batch(1)).to_string();
    server.engine.pause_source(&"alpha".parse().unwrap(), "ann", "x").unwrap();
    let mut kinds = Vec::new();
    let mut last = 0;
    while kinds.last().is_none_or(|kind| kind != "source") {
        let heard = listener.hear().unwrap();
        assert!(number(&heard) > last, "{heard:?}");
        last = number(&heard);
        let data: Value = serde_json::from_str(&heard.data).unwrap();
        assert_eq!((data["seq"].as_u64(), &data["kind"]), (Some(last), &Value::from(&*heard.event)));
        if heard.event == "batch" {
            assert_eq!(data["batch_id"], id);
        }
        kinds.push(heard.event);
    }
    assert!(kinds.iter().filter(|kind| *kind == "batch").count() >= 4, "{kinds:?}");
}

#[test]
fn who_comes_again_hears_what_was_missed_or_is_told_to_look_at_everything() {
    let server = Server::new();
    let mut listener = server.follow(None);
    server.publish(&batch(1));
    let first = listener.hear().unwrap();
    drop(listener);
    server.publish(&batch(2));
    let mut again = server.follow(Some(&first.id));
    let second = again.hear().unwrap();
    assert_eq!(number(&second), number(&first) + 1);

    for id in ["", "rubbish", "0-1", "ffffffffffffffff-3", &first.id.replace('-', "-9999999")] {
        assert_eq!(server.follow(Some(id)).hear().unwrap().event, "reset", "{id}");
    }
    // More than is kept went by.
    for _ in 0..1100 {
        let source = "alpha".parse().unwrap();
        server.engine.pause_source(&source, "ann", "x").unwrap();
        server.engine.resume_source(&source, "ann", "x").unwrap();
    }
    assert_eq!(server.follow(Some(&first.id)).hear().unwrap().event, "reset");
}

#[test]
fn five_hundred_idle_listeners_are_fine() {
    let server = Server::new();
    let mut listeners: Vec<_> = (0..500).map(|_| server.follow(None)).collect();
    assert!(listeners.iter().all(|listener| listener.status == 200));
    assert!(
        server
            .get("/metrics")
            .body
            .windows(29)
            .any(|text| text == b"tidegate_event_listeners 500\n".as_slice())
    );
    server.publish(&batch(1));
    for listener in &mut listeners {
        assert_eq!(listener.hear().unwrap().event, "batch");
    }
    drop(listeners);
    assert_eq!(server.get("/livez").status, 200);
}

#[test]
#[ignore = "takes half a minute: run by .ci/run"]
fn a_listener_that_does_not_read_is_let_go_and_holds_nobody_up() {
    let server = Server::new();
    // It asks, and never reads.
    let mut slow = TcpStream::connect(server.address).unwrap();
    write!(slow, "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let listeners = || {
        let text = String::from_utf8(server.get("/metrics").body).unwrap();
        let line =
            text.lines().find(|line| line.starts_with("tidegate_event_listeners ")).unwrap().to_owned();
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    while listeners() == 0 {}
    // Events until the buffers between are full, and it has lagged too far.
    let source: tidegate::domain::ids::SourceId = "alpha".parse().unwrap();
    // It is let go when nothing could be written for a while, which no number
    // of events makes sooner.
    support::until("letting the listener go", || {
        for _ in 0..100 {
            server.engine.pause_source(&source, "ann", "x").unwrap();
            server.engine.resume_source(&source, "ann", "x").unwrap();
        }
        listeners() == 0
    });
    server.publish(&batch(1));
    assert_eq!(server.get("/livez").status, 200);
}

#[test]
fn a_request_waits_until_the_batch_has_ended_or_waits_for_a_person() {
    let server = Server::new();
    let id = server.deliver(&batch(1));
    let path = format!("/api/v1/batches/{id}?wait=600s");
    let address = server.address;
    let waiting = std::thread::spawn(move || {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        support::server::exchange(address, request.as_bytes()).json()
    });
    server.work();
    assert_eq!(waiting.join().unwrap()["publish_state"]["status"], "COMPLETE");
    // One that has ended is answered at once, and one that waits no longer than it may.
    assert_eq!(
        server.fetch(&format!("/api/v1/batches/{id}?wait=600s"))["publish_state"]["status"],
        "COMPLETE"
    );
    let next = server.deliver(&batch(2));
    assert_eq!(
        server.fetch(&format!("/api/v1/batches/{next}?wait=0s"))["publish_state"]["status"],
        "PENDING"
    );
}

#[test]
fn a_stop_ends_listeners_and_waiting_requests() {
    let mut server = Server::new();
    let id = server.deliver(&batch(1));
    let mut listener = server.follow(None);
    let address = server.address;
    let waiting = std::thread::spawn(move || {
        let request = format!(
            "GET /api/v1/batches/{id}?wait=600s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        );
        support::server::exchange(address, request.as_bytes()).status
    });
    // The request has to be there before the server stops; the one that asks counts too.
    let metrics = |server: &Server| String::from_utf8(server.get("/metrics").body).unwrap();
    while !metrics(&server).contains("tidegate_http_requests_in_flight 2\n") {}
    server.stop();
    while listener.hear().is_some() {}
    assert!([200, 503].contains(&waiting.join().unwrap()));
    assert!(TcpStream::connect(address).is_err());
}
