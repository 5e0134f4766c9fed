//! `tidegate demo`, as a newcomer runs it.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use tidegate_tests::{
    Client,
    process::{Process, processes_naming},
    until,
};

fn start(data: &Path) -> Process {
    let data = data.to_str().expect("temporary folders have plain names");
    Process::tidegate(["demo", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data", data])
}

/// The lines that the demo prints to be tried.
async fn curl_lines(demo: &mut Process) -> Vec<String> {
    let lines = until("five curl lines are printed", || {
        assert!(demo.exit_status().is_none(), "it ended:\n{}", demo.transcript(40));
        let mut all = demo.stdout.all();
        all.extend(demo.stderr.all());
        let lines: Vec<String> = all.iter().filter_map(|l| Some(l[l.find("curl ")?..].to_owned())).collect();
        std::future::ready((lines.len() >= 5).then_some(lines))
    });
    lines.await
}

fn address(curl: &str) -> std::net::SocketAddr {
    let (_, rest) = curl.split_once("127.0.0.1:").expect("a full address, to be pasted anywhere");
    let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
    format!("127.0.0.1:{port}").parse().expect("an address")
}

#[tokio::test]
async fn the_demo_serves_stops_cleanly_and_starts_again_at_once() {
    let dir = tempfile::Builder::new().prefix("tidegate-demo-").tempdir().expect("a folder");
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("own folder");
    let data = dir.path().join("data");

    let mut demo = start(&data);
    let lines = curl_lines(&mut demo).await;
    for line in &lines {
        let output = Command::new("sh").args(["-c", &format!("{line} --silent --max-time 10")]).output().expect("sh");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && !text.contains("\"code\""), "{line}\n{text}");
    }
    let client = Client::new(address(&lines[0]));
    assert!(!client.get("/v1/products/77").await.ok().is_hit());
    assert!(client.get("/v1/products/77").await.ok().is_hit());
    let counted = client.request(http::Method::HEAD, "/v1/products?limit=1").prefer("count=exact").send().await;
    assert_eq!(counted.header("content-range"), "0-0/20000");
    client.patch("/v1/products/77", &serde_json::json!({ "name": "kept" })).send().await.expect_status(204);
    assert!(!processes_naming(&data).is_empty(), "the shards are real processes");

    demo.signal(Signal::SIGINT);
    let status = demo.ended().await;
    assert!(status.success(), "{status}");
    assert_eq!(processes_naming(&data), Vec::<String>::new(), "nothing is left behind");

    let begun = Instant::now();
    let mut again = start(&data);
    let lines = curl_lines(&mut again).await;
    let took = begun.elapsed();
    let client = Client::new(address(&lines[0]));
    assert_eq!(client.get("/v1/products/77").await.ok().json()["name"], "kept");
    assert!(took < Duration::from_secs(3), "the second start took {took:?}");

    // Killed without a chance to clean up: its servers still end, and the next start works.
    again.signal(Signal::SIGKILL);
    again.ended().await;
    until("its servers have ended", || std::future::ready(processes_naming(&data).is_empty().then_some(()))).await;
    let mut third = start(&data);
    let lines = curl_lines(&mut third).await;
    assert_eq!(Client::new(address(&lines[0])).get("/v1/products/77").await.ok().json()["name"], "kept");
}
