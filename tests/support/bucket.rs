//! As much of S3 as listings and reading take, on a port of this machine.
#![allow(dead_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use object_store::aws::{AmazonS3, AmazonS3Builder};

/// The objects of the bucket `metadata`, by their keys as they are.
pub type Objects = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// Answers until the test ends, at the URL that is returned.
pub fn serve(objects: &Objects) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let objects = Arc::clone(objects);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            answer(stream.unwrap(), &objects.lock().unwrap());
        }
    });
    url
}

/// A store that answers every request with 503, at the URL that is returned; how
/// many there were.
pub fn overloaded() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let head = "HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            // Whoever asked may have gone.
            let _ = stream.write_all(head.as_bytes());
        }
    });
    (url, requests)
}

/// The client of such a bucket.
pub fn client(objects: &Objects) -> Arc<AmazonS3> {
    let builder = AmazonS3Builder::new().with_bucket_name("metadata").with_region("here");
    let builder = builder.with_endpoint(serve(objects)).with_allow_http(true).with_skip_signature(true);
    Arc::new(builder.build().unwrap())
}

fn answer(mut stream: TcpStream, objects: &BTreeMap<String, Vec<u8>>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let Some(request) = lines.next() else { return };
    for line in lines {
        if line.is_empty() {
            break;
        }
    }
    let target = request.split(' ').nth(1).unwrap();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = plain(path);
    let (status, body) = match path.strip_prefix("/metadata/").filter(|key| !key.is_empty()) {
        Some(key) => match objects.get(key) {
            Some(bytes) => ("200 OK", bytes.clone()),
            None => ("404 Not Found", Vec::new()),
        },
        None => ("200 OK", list(query, objects).into_bytes()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nETag: \"{}\"\r\nConnection: close\r\n\
         Last-Modified: Sun, 01 Nov 2026 00:00:00 GMT\r\n\r\n",
        body.len(),
        tag(&body)
    );
    // Whoever asked may have gone.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
}

/// What tells an object's bytes from others; its time is always the same.
fn tag(bytes: &[u8]) -> String {
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(bytes))
}

/// A page of a listing.
fn list(query: &str, objects: &BTreeMap<String, Vec<u8>>) -> String {
    let asked: BTreeMap<&str, String> = query
        .split('&')
        .filter_map(|part| part.split_once('='))
        .map(|(name, text)| (name, plain(text)))
        .collect();
    let text = |name: &str| asked.get(name).map_or("", String::as_str);
    let most = asked.get("max-keys").map_or(1000, |most| most.parse().unwrap());
    let (prefix, delimiter, token) = (text("prefix"), text("delimiter"), text("continuation-token"));
    let after = if token.is_empty() { text("start-after") } else { token };
    let (mut xml, mut folders, mut count, mut last) = (String::new(), BTreeSet::new(), 0, String::new());
    let mut more = false;
    for (key, bytes) in objects.iter().filter(|(key, _)| key.starts_with(prefix) && key.as_str() > after) {
        let below = &key[prefix.len()..];
        let end = if delimiter.is_empty() { None } else { below.find(delimiter) };
        let folder = end.map(|end| &key[..prefix.len() + end + delimiter.len()]);
        if folder.is_some_and(|folder| folders.contains(folder) || folder == token) {
            continue;
        }
        if count == most {
            more = true;
            break;
        }
        count += 1;
        folder.unwrap_or(key).clone_into(&mut last);
        if let Some(folder) = folder {
            folders.insert(folder);
            let _ = write!(xml, "<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>", escaped(folder));
        } else {
            let _ = write!(
                xml,
                "<Contents><Key>{}</Key><LastModified>2026-11-01T00:00:00.000Z</LastModified>\
                 <ETag>&quot;{}&quot;</ETag><Size>{}</Size></Contents>",
                escaped(key),
                tag(bytes),
                bytes.len()
            );
        }
    }
    let next = if more {
        format!("<NextContinuationToken>{}</NextContinuationToken>", escaped(&last))
    } else {
        String::new()
    };
    format!("<ListBucketResult><IsTruncated>{more}</IsTruncated>{next}{xml}</ListBucketResult>")
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if c.is_control() || matches!(c, '&' | '<' | '>') {
            let _ = write!(out, "&#x{:x};", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

/// What a part of a URL says.
fn plain(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, more)) = rest.split_first() {
        rest = more;
        match first {
            b'%' => {
                bytes.push(u8::from_str_radix(std::str::from_utf8(&more[..2]).unwrap(), 16).unwrap());
                rest = &more[2..];
            }
            b'+' => bytes.push(b' '),
            other => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).unwrap()
}
