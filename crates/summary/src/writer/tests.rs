use std::thread;

use super::*;
use crate::reader::EventReader;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn events(path: &Path) -> Vec<Event> {
    EventReader::open(path).unwrap().collect::<Result<_>>().unwrap()
}

/// A writer that leaves flushing to the test.
fn patient(dir: &Path) -> SummaryWriter {
    let options = FileWriterOptions {
        max_queue: usize::MAX,
        flush_after: Duration::MAX,
        ..Default::default()
    };
    options.create(dir).unwrap()
}

#[test]
fn the_file_is_named_as_tensorflow_names_it() {
    let folder = folder();
    let dir = folder.path().join("runs/x");
    let (first, second) = (create_file_writer(&dir).unwrap(), create_file_writer(&dir).unwrap());
    assert_ne!(first.path(), second.path());
    assert_eq!(first.path().parent().unwrap(), dir);
    let name = first.path().file_name().unwrap().to_str().unwrap();
    let rest = name.strip_prefix("events.out.tfevents.").unwrap();
    let (time, rest) = rest.split_once('.').unwrap();
    assert!(time.len() == 10 && time.parse::<u64>().unwrap() > 1_700_000_000, "{name}");
    let tail = rest.strip_prefix(&host()).unwrap();
    assert!(tail.starts_with(&format!(".{}.", process::id())) && tail.ends_with(".v2"), "{name}");
}

#[test]
fn a_reader_sees_the_version_at_once_and_the_rest_after_a_flush() {
    let folder = folder();
    let writer = patient(folder.path());
    let version = events(writer.path());
    assert!(matches!(&version[0].what, What::FileVersion(version) if version == FILE_VERSION));
    writer.scalar("loss", 1.0, 0).unwrap();
    assert_eq!(events(writer.path()).len(), 1);
    writer.flush().unwrap();
    assert_eq!(events(writer.path()).len(), 2);
    let clone = writer.clone();
    clone.text("words", "some", 1).unwrap();
    let path = writer.path().to_path_buf();
    drop(writer);
    assert_eq!(events(&path).len(), 2);
    drop(clone);
    assert_eq!(events(&path).len(), 3);
}

#[test]
fn events_wait_for_ten_others_or_some_time() {
    let folder = folder();
    let options = FileWriterOptions { flush_after: Duration::MAX, ..Default::default() };
    let writer = options.create(folder.path()).unwrap();
    for step in 0..25 {
        writer.scalar("loss", 1.0, step).unwrap();
    }
    assert_eq!(events(writer.path()).len(), 1 + 22);
    let options = FileWriterOptions { flush_after: Duration::ZERO, ..Default::default() };
    let writer = options.create(folder.path()).unwrap();
    writer.scalar("loss", 1.0, 0).unwrap();
    assert_eq!(events(writer.path()).len(), 2);
}

#[test]
fn threads_share_a_writer() {
    let folder = folder();
    let writer = create_file_writer(folder.path()).unwrap();
    thread::scope(|scope| {
        for thread in 0..4 {
            let writer = writer.clone();
            scope.spawn(move || {
                for step in 0..100 {
                    writer.scalar(&format!("thread{thread}"), step as f32, step).unwrap();
                }
            });
        }
    });
    writer.flush().unwrap();
    assert_eq!(events(writer.path()).len(), 401);
}

#[test]
fn steps_and_times_are_kept() {
    let folder = folder();
    let writer = create_file_writer(folder.path()).unwrap();
    let before = now();
    for step in [0, -1, i64::MAX] {
        writer.scalar("x", 1.0, step).unwrap();
    }
    writer.session_start(7).unwrap();
    writer.flush().unwrap();
    let events = events(writer.path());
    assert_eq!(events.iter().map(|e| e.step).collect::<Vec<_>>(), [0, 0, -1, i64::MAX, 7]);
    assert!(events[1..].iter().all(|e| e.wall_time >= before && e.wall_time <= now()));
    assert!(matches!(events[4].what, What::SessionStart));
}

#[test]
fn a_place_that_is_no_directory_is_named() {
    let folder = folder();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let error = create_file_writer(&file).unwrap_err();
    assert!(error.is_io() && error.to_string().contains("file"), "{error}");
    let error = create_file_writer(file.join("below")).unwrap_err();
    assert!(error.is_io(), "{error}");
}

#[test]
fn a_function_being_traced_has_no_values_to_write() {
    let folder = folder();
    let writer = create_file_writer(folder.path()).unwrap();
    let traced = tapeflow_core::function(|x: Tensor| {
        let error = writer.scalar("x", &x, 0).unwrap_err();
        assert!(error.is_traced(), "{error}");
        assert!(writer.histogram("x", &x, 0).unwrap_err().is_traced());
        Ok(x)
    });
    traced.call(Tensor::from(1.0f32)).unwrap();
}
