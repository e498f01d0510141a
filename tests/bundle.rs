//! `tidegate doctor bundle` takes no secret along, wherever one may stand and
//! however broken the settings are.

mod support;

use std::process::Command;

use support::batches::{TestBatch, entity, says};
use support::shell::{Shell, unpack};
use support::target_server::{Fault, TargetServer};

/// Settings with a secret in every place that takes one.
const SETTINGS: &str = r#"
[[inbox]]
url = "s3://inboxuser:planted01inboxpassword@metadata/landing/?token=planted02inboxquery"
[[webhook]]
url = "http://127.0.0.1:1/services/planted03webhookpath?code=planted04webhookquery"
secret_file = "hook.secret"
[[webhook]]
url = "http://127.0.0.1:2/"
secret_env = "HOOK"
[targets.catalogue]
kind = "embedded"
[targets.remote]
kind = "http"
url = "http://127.0.0.1:3/tenants/planted05targetpath/"
token_file = "target.token"
[targets.second]
kind = "http"
url = "http://127.0.0.1:4/"
token_env = "CATALOGUE"
"#;

const LOG: &str = r#"2026-11-28T12:00:00Z  INFO started
WARN http://127.0.0.1:3/tenants/planted05targetpath/v1/apply was refused with planted06tokenfile
WARN CATALOGUE is planted07tokenenv, HOOK is planted08hookenv and its file has planted09hookfile
WARN Authorization: Basic cGxhbnRlZDEwYmFzaWM=planted10basic
WARN sent "authorization": "Bearer planted11bearer" and then bearer planted12barebearer
{"level":"WARN","fields":{"password":"planted13jsonpassword","message":"client_secret=planted14pair \"quoted\""}}
{"level":"WARN","headers":{"Authorization":["Bearer planted15list"]},"inner":"{\"api_key\":\"planted16inner\"}"}
WARN connect to postgres://ann:planted17urlpassword@db:5432/x?sslmode=off
WARN key=planted18key token='planted19 quoted token' password: "planted20yaml" secret = planted21spaced
WARN GET https://bucket.s3.amazonaws.com/x?X-Amz-Signature=planted22signature&X-Amz-Expires=5
WARN the access key AKIAPLANTED23ABCDEFG signed it
WARN the server alone knows planted24serverenv
-----BEGIN PRIVATE KEY-----
MIGplanted25privatekey
-----END PRIVATE KEY-----
WARN eyJhbGciOiJIUzI1NiJ9.planted26claims.planted27mark and whsec_planted28webhook
WARN planted29awskey, planted30awssession, planted31proxy and planted32tokenoftheenvironment
2026-11-28T12:01:00Z  INFO the last line
"#;

fn environment(command: &mut Command) -> &mut Command {
    command
        .env("CATALOGUE", "planted07tokenenv")
        .env("HOOK", "planted08hookenv")
        .env("AWS_SECRET_ACCESS_KEY", "planted29awskey")
        .env("AWS_SESSION_TOKEN", "planted30awssession")
        .env("HTTPS_PROXY", "http://ann:planted31proxy@proxy:3128/")
        .env("TIDEGATE_UNRELATED_TOKEN", "planted32tokenoftheenvironment")
        .env("AWS_REGION", "eu-central-1")
}

fn filled() -> Shell {
    let shell = Shell::new();
    std::fs::create_dir_all(shell.data()).unwrap();
    std::fs::write(shell.data().join("hook.secret"), "planted09hookfile\n").unwrap();
    std::fs::write(shell.data().join("target.token"), "planted06tokenfile\n").unwrap();
    std::fs::write(shell.folder.path().join("server.log"), LOG).unwrap();
    shell.settings("");
    let batch = TestBatch::full("alpha", 1).with([says(entity("a"), 1)]);
    shell.expect(0, &["publish", &shell.write(&batch)]);
    shell
}

fn bundle(shell: &Shell, name: &str, more: &[&str]) -> Vec<(String, String)> {
    let log = shell.folder.path().join("server.log");
    let mut arguments = vec!["doctor", "bundle", "--out", name, "--log", log.to_str().unwrap()];
    arguments.extend_from_slice(more);
    let mut command = shell.command(&arguments);
    let output = environment(&mut command).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found = unpack(&shell.folder.path().join(name));
    for (file, text) in &found {
        assert_eq!(planted(text), Vec::<String>::new(), "{name} {file}");
    }
    found
}

/// The secrets that stand in a text.
fn planted(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    lower.match_indices("planted").map(|(at, _)| lower[at..].chars().take(40).collect()).collect()
}

fn file<'a>(found: &'a [(String, String)], name: &str) -> &'a str {
    let file = found.iter().find(|(path, _)| path.ends_with(name));
    &file.unwrap_or_else(|| panic!("{name} is missing")).1
}

#[test]
fn no_secret_is_in_the_archive_whether_the_settings_are_valid_or_not() {
    let shell = filled();
    // Every secret but the one that only a server knows.
    std::fs::write(
        shell.folder.path().join("server.log"),
        LOG.replace("WARN the server alone knows planted24serverenv\n", ""),
    )
    .unwrap();
    let invalid = [
        // A key that is not known, in a section that is not known.
        "[login]\npassphrase = \"planted40unknownkey\"\n",
        // A secret where the name of its variable should be.
        "[targets.third]\nkind = \"http\"\nurl = \"http://127.0.0.1:5/\"\ntoken_env = \"planted41inplaceofaname\"\n",
        // Values that are not allowed.
        "[targets.third]\nkind = \"http\"\nurl = \"http://ann:planted43userinfo@127.0.0.1:5/\"\n",
        "[sources.alpha]\ntarget = \"catalogue\"\nmode = \"odd\"\ntoken = \"planted45token\"\n",
        // What is no TOML, in a line with a secret.
        "[targets.third]\nkind = \"http\"\ntoken = planted46syntax\n",
        "[targets.third]\ntoken = \"planted47unterminated\npassword = 1\n",
        "[[webhook]]\nurl = \"http://127.0.0.1:6/planted48path\" secret = \"planted49sameline\"\n",
    ];
    shell.settings(SETTINGS);
    let found = bundle(&shell, "valid.tar.gz", &[]);
    let settings = file(&found, "/settings.toml");
    for kept in ["http://127.0.0.1:1", "http://127.0.0.1:3", "secret_file", "CATALOGUE", "metadata/landing"] {
        assert!(settings.contains(kept), "{kept}: {settings}");
    }
    let log = file(&found, "/log.txt");
    for kept in ["INFO started", "INFO the last line", "http://127.0.0.1:3", "\"level\":\"WARN\"", "db:5432"]
    {
        assert!(log.contains(kept), "{kept}: {log}");
    }
    assert!(file(&found, "/environment.json").contains("AWS_SECRET_ACCESS_KEY"));
    for (n, wrong) in invalid.iter().enumerate() {
        shell.settings(&format!("{SETTINGS}{wrong}"));
        // What is wrong in the settings may be all that a log tells.
        let log = shell.folder.path().join("server.log");
        std::fs::write(
            &log,
            format!("{LOG}ERROR the settings: {wrong}")
                .replace("WARN the server alone knows planted24serverenv\n", ""),
        )
        .unwrap();
        let found = bundle(&shell, &format!("invalid{n}.tar.gz"), &[]);
        let doctor: serde_json::Value = serde_json::from_str(file(&found, "/doctor.json")).unwrap();
        let error = doctor["checks"][0].clone();
        assert_eq!(
            (error["check"].as_str(), error["status"].as_str()),
            (Some("settings"), Some("error")),
            "{n}"
        );
        assert!(error["found"].as_str().unwrap().contains("tidegate.toml:"), "{n}: {error:#}");
    }
}

#[test]
fn what_only_the_servers_environment_holds_is_taken_out_too() {
    let shell = filled();
    // Without the inbox, which would be asked for over the network.
    let (_, rest) = SETTINGS.split_once("[[webhook]]").unwrap();
    shell.settings(&format!(
        "[[webhook]]{rest}[[webhook]]\nurl = \"http://127.0.0.1:6/\"\nsecret_env = \"ONLY_THERE\"\n"
    ));
    let mut command = shell.command(&["serve"]);
    environment(&mut command).env("ONLY_THERE", "planted24serverenv");
    let server = shell.serve_with(command);
    let found = bundle(&shell, "served.tar.gz", &[]);
    assert!(file(&found, "/sources.json").contains("alpha"));
    server.stop();
}

#[test]
fn a_setting_that_is_no_toml_is_told_with_its_line_and_not_with_what_stands_there() {
    let shell = Shell::new();
    shell.settings("[targets.x]\nkind = \"http\"\ntoken = planted50syntax\n");
    for command in [&["config", "check"][..], &["doctor"], &["publish", "x"], &["serve"]] {
        let output = shell.run(command);
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert!(text.contains("tidegate.toml:5: "), "{command:?}: {text}");
        assert_eq!(planted(&text), Vec::<String>::new(), "{command:?}: {text}");
    }
}

#[test]
fn what_a_target_said_of_a_failure_is_not_taken_along() {
    let (server, shell) = (TargetServer::start(), Shell::new());
    let targets = format!("[targets.catalogue]\nkind = \"http\"\nurl = \"{}\"\n", server.url());
    shell.settings(&targets);
    server.poison(["a"], Fault::Say("500 Internal Server Error", "the owner is quiet-value"));
    let batch = TestBatch::full("alpha", 1).with([says(entity("a"), 1)]);
    shell.run(&["publish", &shell.write(&batch)]);
    let shown = shell.json(0, &["batches", "show", &batch.id()]);
    let trace = shown["publish_state"]["failure_details"]["stack_trace"].as_str().unwrap();
    assert!(trace.contains("quiet-value"), "{trace}");
    let archive = shell.folder.path().join("b.tar.gz");
    shell.expect(0, &["doctor", "bundle", "--out", &archive.display().to_string()]);
    let files = unpack(&archive);
    assert!(files.iter().any(|(_, text)| text.contains("was answered 500 Internal Server Error")));
    for (name, text) in files {
        assert!(!text.contains("quiet-value"), "{name}");
    }
}
