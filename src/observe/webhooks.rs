//! Webhooks: brings the messages of the outbox to where they are to go, in
//! order, at least once. What a message says is decided where it is written.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use crate::clock::Clock;
use crate::config::WebhookSettings;
use crate::domain::due;
use crate::domain::retry::retry_after;
use crate::error::{Error, Result};
use crate::loopback::is_loopback;
use crate::store::{OutboxMessage, Outlet, Store};

/// The longest wait before a message is tried again.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// The longest wait that a receiver may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(3600);
/// Messages of one webhook that are sent before another one has its turn.
const TURN: usize = 100;
/// How often a request that is out looks whether it should be left.
const TICK: Duration = Duration::from_millis(50);

/// The webhooks as the store knows them.
pub fn outlets(webhooks: &[WebhookSettings]) -> Vec<Outlet> {
    webhooks
        .iter()
        .map(|webhook| Outlet { name: webhook.url.to_string(), kinds: webhook.events.clone() })
        .collect()
}

/// What a round did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Round {
    /// Messages that arrived.
    pub arrived: u64,
    /// Attempts that failed and are made again.
    pub failed: u64,
    /// Messages that were given up.
    pub given_up: u64,
}

/// Whether all work is to end.
pub type Stop<'a> = &'a (dyn Fn() -> bool + Sync);

/// Why an attempt failed, and how long the receiver asked to wait.
struct Failed {
    reason: String,
    wait: Option<Duration>,
}

/// Brings messages.
pub struct Courier {
    runtime: tokio::runtime::Runtime,
    client: reqwest::Client,
    /// For receivers on this machine, whatever proxy there is.
    direct: reqwest::Client,
}

impl Courier {
    /// One that follows no redirects: a message goes where the settings say,
    /// and nowhere else.
    pub fn new() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| Error::internal("a runtime for webhooks").caused_by(e))?;
        let client = |builder: reqwest::ClientBuilder| {
            builder
                .redirect(reqwest::redirect::Policy::none())
                .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
                .build()
                .map_err(|e| Error::internal("a client for webhooks").caused_by(e))
        };
        let direct = client(reqwest::Client::builder().no_proxy())?;
        Ok(Self { runtime, client: client(reqwest::Client::builder())?, direct })
    }

    /// Sends what is due. A webhook's messages go one after the other: the
    /// next one is not sent before the one ahead of it arrived or was given
    /// up. Ends early when `stop` says so; what was out then is sent again.
    ///
    /// # Errors
    /// Of the store. A receiver's failure is none of ours.
    pub fn round(
        &self,
        store: &Store,
        webhooks: &[WebhookSettings],
        clock: &dyn Clock,
        stop: Stop<'_>,
    ) -> Result<Round> {
        let mut round = Round::default();
        for outlet in store.read(|view| view.outlets_with_messages())? {
            match webhooks.iter().find(|webhook| webhook.url.as_str() == outlet) {
                Some(webhook) => self.deliver(store, webhook, clock, stop, &mut round)?,
                None => forget(store, &outlet, &mut round)?,
            }
            if stop() {
                break;
            }
        }
        Ok(round)
    }

    fn deliver(
        &self,
        store: &Store,
        webhook: &WebhookSettings,
        clock: &dyn Clock,
        stop: Stop<'_>,
        round: &mut Round,
    ) -> Result<()> {
        for _ in 0..TURN {
            let Some(message) = store.read(|view| view.next_message(webhook.url.as_str()))? else { break };
            let longest = LONGEST_WAIT.max(LONGEST_ASKED);
            if message.next_attempt.and_then(|at| due::ahead(at, clock.now(), longest)).is_some() {
                break;
            }
            let sent = self.runtime.block_on(async {
                tokio::select! {
                    sent = self.send(webhook, &message, clock.now()) => Some(sent),
                    () = stopped(stop) => None,
                }
            });
            match sent {
                None => break,
                Some(Ok(())) => {
                    tracing::debug!(webhook = webhook.origin(), message = message.id, "arrived");
                    round.arrived += 1;
                    store.write(move |tx| {
                        tx.message_arrived(&message);
                        Ok(())
                    })?;
                }
                Some(Err(failed)) => {
                    if !again(store, webhook, message, failed, clock, round)? {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    async fn send(
        &self,
        webhook: &WebhookSettings,
        message: &OutboxMessage,
        now: Timestamp,
    ) -> Result<(), Failed> {
        let failed = |reason: String| Failed { reason, wait: None };
        let client = if is_loopback(&webhook.url) { &self.direct } else { &self.client };
        let mut request = client
            .post(webhook.url.clone())
            .timeout(webhook.timeout)
            .header("content-type", "application/json")
            .header("webhook-id", &message.id)
            .header("webhook-timestamp", now.as_second());
        if let Some(secret) = &webhook.secret {
            let secret = secret.read().map_err(|error| failed(error.to_string()))?;
            request = request.header("webhook-signature", signature(&secret, message, now));
        }
        let answer = request.body(message.body.clone()).send().await.map_err(|error| {
            // Without its URL, which may be known to its owner alone.
            let error = error.without_url();
            let mut reason = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(inner) = cause {
                reason = format!("{reason}: {inner}");
                cause = inner.source();
            }
            failed(reason)
        })?;
        if answer.status().is_success() {
            return Ok(());
        }
        let asked = answer.headers().get("retry-after");
        let asked = asked.and_then(|value| retry_after(value.to_str().ok()?, now));
        Err(Failed {
            reason: format!("the receiver answered {}", answer.status()),
            wait: asked.map(|asked| asked.min(LONGEST_ASKED)),
        })
    }
}

async fn stopped(stop: Stop<'_>) {
    while !stop() {
        tokio::time::sleep(TICK).await;
    }
}

/// The signature of the Standard Webhooks specification, version 1:
/// HMAC-SHA256 over id, time in seconds and body, joined by dots.
pub fn signature(secret: &[u8], message: &OutboxMessage, at: Timestamp) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let text = format!("{}.{}.{}", message.id, at.as_second(), message.body);
    format!("v1,{}", STANDARD.encode(hmac::sign(&key, text.as_bytes())))
}

/// Stores when a message is sent again, or gives it up: whether another one
/// may be sent now.
fn again(
    store: &Store,
    webhook: &WebhookSettings,
    mut message: OutboxMessage,
    failed: Failed,
    clock: &dyn Clock,
    round: &mut Round,
) -> Result<bool> {
    let now = clock.now();
    message.attempts = message.attempts.saturating_add(1);
    let wait = failed.wait.unwrap_or_else(|| wait_after(message.attempts, clock.random()));
    let next = due::after(now, wait);
    let (origin, id, attempts) = (webhook.origin(), message.id.clone(), message.attempts);
    if next > due::after(message.created_at, webhook.give_up) {
        tracing::error!(webhook = origin, message = id, kind = %message.kind, subject = message.subject, attempts, reason = failed.reason, "a message was given up");
        round.given_up += 1;
        store.write(move |tx| tx.give_message_up(&message))?;
        return Ok(true);
    }
    tracing::warn!(
        webhook = origin,
        message = id,
        attempts,
        reason = failed.reason,
        "a message did not arrive; it is sent again"
    );
    round.failed += 1;
    message.next_attempt = Some(next);
    message.last_error = Some(failed.reason);
    store.write(move |tx| tx.put_message(&message))?;
    Ok(false)
}

/// Twice as long each time, and at least half of that by chance, so that many
/// senders do not come back together.
fn wait_after(attempts: u32, random: u64) -> Duration {
    let whole = Duration::from_secs(1u64 << attempts.min(16)).min(LONGEST_WAIT);
    let share = 0.5 + 0.5 * (random as f64 / u64::MAX as f64);
    whole.mul_f64(share.clamp(0.5, 1.0))
}

/// Gives up what waits for a webhook that is no longer in the settings.
fn forget(store: &Store, outlet: &str, round: &mut Round) -> Result<()> {
    let name = outlet.to_owned();
    let count = store.write(move |tx| {
        let mut count = 0u64;
        while count < TURN as u64
            && let Some(message) = tx.next_message(&name)?
        {
            tx.give_message_up(&message)?;
            count += 1;
        }
        Ok(count)
    })?;
    tracing::error!(messages = count, "given up: their webhook is no longer in the settings");
    round.given_up += count;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::notice::NoticeKind;

    #[test]
    fn signatures_are_those_of_the_standard_webhooks_specification() {
        let message = OutboxMessage {
            number: 0,
            outlet: String::new(),
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek".into(),
            kind: NoticeKind::BatchEnded,
            subject: String::new(),
            body: r#"{"test": 2432232314}"#.into(),
            created_at: Timestamp::UNIX_EPOCH,
            attempts: 0,
            next_attempt: None,
            last_error: None,
            alert: None,
        };
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let at = Timestamp::from_second(1_614_265_330).unwrap();
        assert_eq!(signature(&secret, &message, at), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn waits_double_and_stay_below_their_limit() {
        assert_eq!(wait_after(1, 0), Duration::from_secs(1));
        assert_eq!(wait_after(1, u64::MAX), Duration::from_secs(2));
        assert_eq!(wait_after(3, u64::MAX), Duration::from_secs(8));
        assert_eq!(wait_after(40, u64::MAX), LONGEST_WAIT);
    }
}
