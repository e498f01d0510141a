//! Which URLs lead to this machine. A proxy that the environment names is for
//! the others: asked for `127.0.0.1` it would look on its own machine.

use url::{Host, Url};

/// Whether a URL's host is this machine.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_addresses_and_localhost_are_this_machine() {
        for (url, here) in [
            ("http://127.0.0.1:8484/", true),
            ("http://127.9.9.9/", true),
            ("http://[::1]:80/", true),
            ("https://LOCALHOST/x", true),
            ("http://localhost.example.org/", false),
            ("http://10.0.0.1/", false),
            ("http://[::2]/", false),
            ("file:///tmp", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), here, "{url}");
        }
    }
}
