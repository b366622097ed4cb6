//! A model file that is replaced while it is served.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::bench::{Server, images, instances, wait_for, write_model};

/// The digit that every image reads as.
fn digit(server: &Server) -> usize {
    let row = server.predict(&instances(&images(1))).rows("predictions").remove(0);
    (0..10).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap()
}

fn version(server: &Server) -> String {
    let status = server.get("/v1/models/digits").json();
    status["model_version_status"][0]["version"].as_str().unwrap().to_owned()
}

#[test]
fn a_new_model_takes_over_between_two_requests() {
    let server = Server::start("--poll 0.05 --quiet");
    assert_eq!((digit(&server), version(&server).as_str()), (3, "1"));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let asking: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut digits = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        digits.push(digit(&server));
                    }
                    // However slow the machine: what is asked now is answered by the new model.
                    digits.push(digit(&server));
                    digits
                })
            })
            .collect();
        write_model(&server.model(), 7, None);
        wait_for("the new model", || (version(&server) == "2").then_some(()));
        stop.store(true, Ordering::Relaxed);
        for thread in asking {
            let mut digits = thread.join().unwrap();
            digits.dedup();
            assert!(matches!(digits.as_slice(), [3, 7] | [7]), "{digits:?}");
        }
    });
    assert_eq!(server.get("/v1/models/digits/versions/1").status, 404);
    write_model(&server.model(), 5, Some("40"));
    wait_for("a version from the file", || (version(&server) == "40").then_some(()));
    assert_eq!(digit(&server), 5);
    // A version does not go back.
    write_model(&server.model(), 4, Some("12"));
    wait_for("the next version", || (version(&server) == "41").then_some(()));
    assert_eq!(server.metric("digits_model_loads_total"), 3.0);
}

#[test]
fn half_a_model_is_never_used() {
    let server = Server::start("--poll 0.05");
    let path = server.model();
    let whole = {
        let other = path.with_extension("other");
        write_model(&other, 8, None);
        fs::read(&other).unwrap()
    };
    // Whoever copies slowly leaves half of it there for long enough to be looked at.
    put(&path, &whole[..whole.len() / 2]);
    let refused = server.wait_for_event("model_refused");
    assert!(refused["error"].as_str().unwrap().contains("model.safetensors"), "{refused}");
    assert_eq!((digit(&server), version(&server).as_str()), (3, "1"));
    put(&path, &whole);
    wait_for("the whole model", || (version(&server) == "2").then_some(()));
    assert_eq!(digit(&server), 8);
    // Neither a file that is gone nor one of another kind takes the model away.
    fs::remove_file(&path).unwrap();
    wait_for_looks(&server);
    assert_eq!(digit(&server), 8);
    put(&path, b"not a model");
    let failures = || server.metric("digits_model_load_failures_total");
    wait_for("a second refusal", || (failures() >= 2.0).then_some(()));
    assert_eq!((digit(&server), version(&server).as_str()), (8, "2"));
    // One refusal is enough for one content.
    wait_for_looks(&server);
    assert_eq!(failures(), 2.0);
}

/// Puts a file there at once, so that no look meets a part of it.
fn put(path: &Path, bytes: &[u8]) {
    let beside = path.with_extension("beside");
    fs::write(&beside, bytes).unwrap();
    fs::rename(&beside, path).unwrap();
}

/// Waits until the server has looked at the file often enough to have read it.
fn wait_for_looks(server: &Server) {
    let looks = || server.metric("digits_model_looks_total");
    let first = looks();
    wait_for("looks at the file", || (looks() >= first + 4.0).then_some(()));
}

#[test]
fn versions_have_an_end() {
    let server = Server::start("--poll 0.05");
    let last = i64::MAX.to_string();
    write_model(&server.model(), 5, Some(&last));
    wait_for("the last version", || (version(&server) == last).then_some(()));
    for next in [None, Some("18446744073709551615")] {
        write_model(&server.model(), 7, next);
        wait_for_looks(&server);
        assert_eq!((digit(&server), version(&server)), (5, last.clone()));
    }
    assert_eq!(server.metric("digits_model_load_failures_total"), 2.0);
    let refused = server.wait_for_event("model_refused");
    assert!(
        refused["error"].as_str().unwrap().contains("the highest is 9223372036854775807"),
        "{refused}"
    );
    assert_eq!(server.get(&format!("/v1/models/digits/versions/{last}")).status, 200);
}
