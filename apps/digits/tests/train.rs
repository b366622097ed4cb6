//! `digits train` as a user meets it: a real process on a small data set.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tapeflow::Tensor;

/// Images of the small data set: enough to learn something, few enough for many runs.
const TRAIN_IMAGES: usize = 1500;
const TEST_IMAGES: usize = 300;

struct Workbench {
    folder: tempfile::TempDir,
}

impl Workbench {
    /// A folder with the first images of MNIST as IDX files in `data`.
    fn new() -> Workbench {
        Workbench::with(TRAIN_IMAGES)
    }

    fn with(train_images: usize) -> Workbench {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        let (train, test) = tapeflow::datasets::mnist::load_data().unwrap();
        write_idx(&data, "train", &train, train_images);
        write_idx(&data, "t10k", &test, TEST_IMAGES);
        Workbench { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `digits train` on the small data set; `args` are separated by spaces.
    fn train(&self, args: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_digits"));
        command.current_dir(self.folder.path()).args(["train", "--data", "data"]);
        command.args(args.split_whitespace());
        command
    }
}

fn write_idx(folder: &Path, name: &str, (images, labels): &(Tensor, Tensor), count: usize) {
    let images = &images.as_slice::<u8>().unwrap()[..count * 28 * 28];
    let labels = &labels.as_slice::<u8>().unwrap()[..count];
    let count = (count as u32).to_be_bytes();
    let side = 28u32.to_be_bytes();
    let header = [&[0, 0, 8, 3], &count[..], &side, &side].concat();
    fs::write(folder.join(format!("{name}-images-idx3-ubyte")), [&header, images].concat())
        .unwrap();
    let header = [&[0, 0, 8, 1], &count[..]].concat();
    fs::write(folder.join(format!("{name}-labels-idx1-ubyte")), [&header, labels].concat())
        .unwrap();
}

fn succeed(mut command: Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Runs a command that must fail with this exit code; gives what it says.
fn refused(mut command: Command, code: i32) -> String {
    let output = command.output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{command:?}: {message}");
    assert!(message.lines().any(|line| line.starts_with("digits: ")), "{message}");
    assert!(!message.contains("panicked"), "{message}");
    message
}

#[test]
fn the_same_seed_gives_the_same_bytes_with_any_number_of_threads() {
    let few = 300;
    let models = [
        ("lesson", TRAIN_IMAGES),
        ("all-conv", TRAIN_IMAGES),
        ("fast", TRAIN_IMAGES),
        ("best", few),
    ];
    for (model, images) in models {
        let bench = Workbench::with(images);
        let run = |out: &str, more: &str| {
            succeed(bench.train(&format!("--model {model} --epochs 1 --out {out} {more}")));
            fs::read(bench.path(out)).unwrap()
        };
        let one = run("one", "--threads 1");
        assert!(one == run("two", "--threads 2"), "{model}: 1 and 2 threads differ");
        assert!(one == run("three", "--threads 3"), "{model}: 1 and 3 threads differ");
        assert!(one != run("other", "--seed 1"), "{model}: the seed changes nothing");
    }
}

#[test]
fn a_run_killed_again_and_again_ends_with_the_same_bytes() {
    let runs = [
        ("sgd", "all-conv", 2, TRAIN_IMAGES),
        ("momentum", "all-conv", 2, TRAIN_IMAGES),
        ("adam", "lesson", 2, TRAIN_IMAGES),
        // Its learning rate changes with every step.
        ("quick-adam", "fast --augment", 8, TRAIN_IMAGES),
        // It has running statistics, drops values at random, and reads several views of each image.
        ("nesterov", "best", 2, 300),
    ];
    for (optimizer, model, epochs, images) in runs {
        let bench = Workbench::with(images);
        let options =
            format!("--model {model} --optimizer {optimizer} --batch-size 50 --epochs {epochs}");
        succeed(bench.train(&format!("{options} --out whole")));
        let dir = format!("ckpt-{optimizer}");
        let resume = format!(
            "{options} --out pieces --checkpoint-dir {dir} --checkpoint-every 3 --keep 2 --resume"
        );
        let mut kills = 0;
        for attempt in 0.. {
            let mut command = bench.train(&resume);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = command.spawn().unwrap();
            // Longer each time, so that the run ends however slow the machine is.
            std::thread::sleep(Duration::from_millis(150 + 130 * attempt));
            if child.try_wait().unwrap().is_some() {
                break;
            }
            child.kill().unwrap();
            child.wait().unwrap();
            kills += 1;
        }
        assert!(kills >= 2, "{optimizer}: killed only {kills} times");
        succeed(bench.train(&resume));
        let (whole, pieces) = (fs::read(bench.path("whole")), fs::read(bench.path("pieces")));
        assert!(whole.unwrap() == pieces.unwrap(), "{optimizer}: after {kills} kills");
        let kept = fs::read_dir(bench.path(&dir)).unwrap().count();
        assert!(kept <= 2 + kills, "{kept} files in {dir}");
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_writes_a_checkpoint_and_says_how_to_go_on() {
    let bench = Workbench::new();
    succeed(bench.train("--model all-conv --epochs 3 --out whole"));
    let mut child = bench
        .train("--model all-conv --epochs 3 --batch-size 128 --out m.safetensors --json")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first_line = String::new();
    let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut stdout, &mut first_line).unwrap();
    assert!(first_line.contains(r#""event":"step""#), "{first_line}");
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    std::io::copy(&mut stdout, &mut std::io::sink()).unwrap();
    let output = child.wait_with_output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{message}");
    assert!(message.contains("digits train --resume --checkpoint-dir m.checkpoints"), "{message}");
    assert!(!bench.path("m.safetensors").exists());
    succeed(bench.train("--resume --checkpoint-dir m.checkpoints --out m.safetensors"));
    assert!(
        fs::read(bench.path("whole")).unwrap() == fs::read(bench.path("m.safetensors")).unwrap()
    );
}

#[test]
fn the_fast_model_learns_in_few_steps() {
    let bench = Workbench::new();
    let output = succeed(bench.train("--model fast --batch-size 50 --json --out m"));
    let text = String::from_utf8(output.stdout).unwrap();
    let result: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(result["steps"], 2 * TRAIN_IMAGES / 50);
    assert!(result["test_accuracy"].as_f64().unwrap() > 0.85, "{result}");
}

#[test]
fn json_lines_tell_every_step_and_the_result() {
    let bench = Workbench::new();
    let output = succeed(bench.train("--model all-conv --epochs 4 --json --out m"));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let steps = (4 * TRAIN_IMAGES).div_ceil(128);
    assert_eq!(lines.len(), steps + 1);
    assert_eq!(lines[0]["event"], "step");
    let result = &lines[steps];
    assert_eq!((&result["event"], &result["images"]), (&"result".into(), &TEST_IMAGES.into()));
    assert!(result["test_accuracy"].as_f64().unwrap() > 0.7, "{result}");

    let mut evaluate = Command::new(env!("CARGO_BIN_EXE_digits"));
    evaluate.current_dir(bench.folder.path());
    evaluate.args(["evaluate", "m", "--data", "data", "--json"]);
    let evaluated: serde_json::Value = serde_json::from_slice(&succeed(evaluate).stdout).unwrap();
    assert_eq!(evaluated["test_accuracy"], result["test_accuracy"]);
    assert_eq!(evaluated["confusion"], result["confusion"]);
}

#[test]
fn a_loss_that_is_not_a_number_stops_and_keeps_the_last_good_checkpoint() {
    let bench = Workbench::new();
    succeed(bench.train("--model all-conv --epochs 1 --checkpoint-dir good --out m"));
    let message = refused(
        bench.train(
            "--model all-conv --learning-rate 1e12 --checkpoint-dir c --checkpoint-every 1 --out bad \
             --logdir runs",
        ),
        1,
    );
    assert!(message.contains("diverged"), "{message}");
    assert!(!bench.path("bad").exists());
    let failed = events(&bench.path("runs")).into_iter().any(|event| match event.what {
        tapeflow::summary::What::Summaries(all) => all.iter().any(|summary| {
            // STATUS_FAILURE of SessionEndInfo, before the time.
            summary.tag == "_hparams_/session_end_info"
                && summary.content.windows(3).any(|bytes| bytes == [0x08, 2, 0x11])
        }),
        _ => false,
    });
    assert!(failed);
    for entry in fs::read_dir(bench.path("c")).into_iter().flatten() {
        let tensors = tapeflow::io::load_safetensors(entry.unwrap().path()).unwrap().tensors;
        for tensor in tensors.values().filter(|tensor| tensor.dtype() == tapeflow::DType::Float32) {
            assert!(tensor.as_slice::<f32>().unwrap().iter().all(|x| x.is_finite()));
        }
    }
}

#[test]
fn bad_options_and_bad_files_are_named() {
    let bench = Workbench::new();
    assert!(refused(bench.train("--batch-size 0"), 2).contains("--batch-size 0"));
    assert!(refused(bench.train("--epochs 0"), 2).contains("--epochs 0"));
    assert!(refused(bench.train("--learning-rate -1"), 2).contains("--learning-rate"));
    assert!(refused(bench.train("--learning-rate nan"), 2).contains("--learning-rate"));
    assert!(refused(bench.train("--threads 5000"), 2).contains("--threads"));
    assert!(refused(bench.train("--seed -1 --keep 0"), 2).contains("--keep"));
    assert!(refused(bench.train("--out no/such/place"), 2).contains("no/such"));
    assert!(refused(bench.train("--out data"), 2).contains("is a directory"));
    assert!(
        refused(bench.train("--resume --checkpoint-dir data/train-labels-idx1-ubyte"), 2)
            .contains("data/")
    );

    let labels = bench.path("data/t10k-labels-idx1-ubyte");
    let whole = fs::read(&labels).unwrap();
    let damage: [(&str, Vec<u8>); 5] = [
        ("truncated", whole[..100].to_vec()),
        ("wrong magic", [b"PK\x03\x04", &whole[4..]].concat()),
        ("a count too high", [&whole[..4], &[0, 0, 2, 0], &whole[8..]].concat()),
        ("corrupt gzip", [b"\x1f\x8b\x08\x00", &whole[4..]].concat()),
        ("empty", Vec::new()),
    ];
    for (what, bytes) in damage {
        fs::write(&labels, bytes).unwrap();
        let message = refused(bench.train("--epochs 1"), 2);
        assert!(message.contains("t10k-labels-idx1-ubyte"), "{what}: {message}");
    }
    fs::remove_file(&labels).unwrap();
    assert!(refused(bench.train("--epochs 1"), 2).contains("t10k-labels-idx1-ubyte"));
}

#[test]
fn a_corrupt_or_foreign_model_file_is_named() {
    let bench = Workbench::new();
    succeed(bench.train("--model all-conv --epochs 1 --out m"));
    let whole = fs::read(bench.path("m")).unwrap();
    let evaluate = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_digits"));
        command.current_dir(bench.folder.path()).args(["evaluate", "x", "--data", "data"]);
        command
    };
    for (what, bytes) in [
        ("truncated", whole[..whole.len() / 2].to_vec()),
        ("noise", vec![0xa5; 1000]),
        ("empty", Vec::new()),
        ("an absurd header length", [&[0xff; 8], &whole[8..]].concat()),
    ] {
        fs::write(bench.path("x"), bytes).unwrap();
        let message = refused(evaluate(), 2);
        assert!(message.contains('x'), "{what}: {message}");
    }
    tapeflow::io::save_safetensors(
        bench.path("x"),
        &[("w", Tensor::from(1.0f32))],
        &Default::default(),
    )
    .unwrap();
    assert!(refused(evaluate(), 2).contains("digits train"));
    fs::remove_file(bench.path("x")).unwrap();
    assert!(refused(evaluate(), 2).contains("x"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_no_half_written_file() {
    let bench = Workbench::new();
    // A limit on the size of files is what a full disk is to a writer.
    let digits = env!("CARGO_BIN_EXE_digits");
    let script = format!(
        "trap '' XFSZ; ulimit -f 100; exec {digits} train --data data --model all-conv --epochs 1 --out m"
    );
    let mut command = Command::new("bash");
    command.current_dir(bench.folder.path()).args(["-c", &script]);
    let message = refused(command, 1);
    assert!(message.contains('m'), "{message}");
    let left: Vec<_> =
        fs::read_dir(bench.folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["data"]);
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_takes_nothing_is_a_failure_and_no_panic() {
    let bench = Workbench::new();
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let train = "--model all-conv --epochs 1 --out m";
    let mut to_a_full_disk = bench.train(train);
    to_a_full_disk.stdout(full());
    let message = refused(to_a_full_disk, 1);
    assert!(message.contains("standard output"), "{message}");
    assert!(bench.path("m").exists(), "the model was written before");

    let mut to_nobody = bench.train(&format!("{train} --json"));
    let mut child = to_nobody.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("digits: writing to standard output"), "{message}");

    let mut unheard = bench.train(train);
    unheard.stderr(full());
    succeed(unheard);
}

#[test]
fn other_data_trains_plain_or_gzipped() {
    let bench = Workbench::new();
    succeed(bench.train("--model all-conv --epochs 1 --out plain"));
    for entry in fs::read_dir(bench.path("data")).unwrap() {
        let path = entry.unwrap().path();
        let gzipped = File::create(format!("{}.gz", path.display())).unwrap();
        let mut gzipped = flate2::write::GzEncoder::new(gzipped, flate2::Compression::fast());
        gzipped.write_all(&fs::read(&path).unwrap()).unwrap();
        gzipped.finish().unwrap();
        fs::remove_file(path).unwrap();
    }
    succeed(bench.train("--model all-conv --epochs 1 --out gzipped"));
    assert!(fs::read(bench.path("plain")).unwrap() == fs::read(bench.path("gzipped")).unwrap());
}

#[test]
fn resuming_with_other_options_is_refused() {
    let bench = Workbench::new();
    succeed(
        bench.train("--model all-conv --epochs 1 --checkpoint-dir c --checkpoint-every 5 --out m"),
    );
    assert!(refused(bench.train("--checkpoint-dir c"), 2).contains("--resume"));
    let message = refused(bench.train("--resume --checkpoint-dir c --seed 7"), 2);
    assert!(message.contains(r#""seed":7"#), "{message}");
    let mut file = File::create(bench.path("c/ckpt-99.safetensors")).unwrap();
    file.write_all(b"not a checkpoint").unwrap();
    succeed(bench.train("--resume --checkpoint-dir c --out n"));
    assert!(fs::read(bench.path("m")).unwrap() == fs::read(bench.path("n")).unwrap());
}

/// What a directory of event files tells, in the order of the files' names.
fn events(dir: &Path) -> Vec<tapeflow::summary::Event> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let events = files.iter().flat_map(|file| tapeflow::summary::EventReader::open(file).unwrap());
    events.collect::<tapeflow::Result<_>>().unwrap()
}

/// The steps at which something was written under this name.
fn steps(events: &[tapeflow::summary::Event], tag: &str) -> Vec<i64> {
    let has_tag = |event: &&tapeflow::summary::Event| match &event.what {
        tapeflow::summary::What::Summaries(all) => all.iter().any(|summary| summary.tag == tag),
        _ => false,
    };
    events.iter().filter(has_tag).map(|event| event.step).collect()
}

#[test]
fn a_logdir_tells_of_the_run_and_changes_nothing_of_it() {
    let bench = Workbench::new();
    for model in ["all-conv", "fast"] {
        let options = format!("--model {model} --batch-size 100 --epochs 2 --seed 3");
        succeed(bench.train(&format!("{options} --out without")));
        let logged = succeed(
            bench.train(&format!("{options} --out with --logdir runs/{model} --log-every 4")),
        );
        let text = String::from_utf8(logged.stdout).unwrap();
        assert!(text.contains(&format!("tensorboard --logdir runs/{model}")), "{text}");
        assert!(text.contains("digits evaluate with --data data --report"), "{text}");
        assert!(
            fs::read(bench.path("with")).unwrap() == fs::read(bench.path("without")).unwrap(),
            "{model}"
        );

        let events = events(&bench.path(&format!("runs/{model}")));
        let curve = [1, 4, 8, 12, 16, 20, 24, 28, 30];
        for tag in ["train/loss", "train/accuracy", "train/learning_rate"] {
            assert_eq!(steps(&events, tag), curve, "{tag}");
        }
        for tag in ["test/accuracy", "test/loss", "test/misreadings"] {
            assert_eq!(steps(&events, tag), [15, 30], "{tag}");
        }
        assert_eq!(steps(&events, "weights/conv1_w"), [0, 15, 30]);
        assert_eq!(steps(&events, "_hparams_/session_start_info"), [0]);
        assert_eq!(steps(&events, "_hparams_/session_end_info"), [0]);
        let graphs =
            events.iter().filter(|e| matches!(e.what, tapeflow::summary::What::GraphDef(_)));
        assert_eq!(graphs.count(), 1);
    }
    fs::write(bench.path("file"), "x").unwrap();
    assert!(refused(bench.train("--logdir file"), 2).contains("file"));
    assert!(refused(bench.train("--logdir l --log-every 0"), 2).contains("--log-every"));
}

#[test]
fn a_resumed_run_says_from_where_it_goes_on() {
    let bench = Workbench::new();
    let options = "--model fast --batch-size 100 --epochs 2 --checkpoint-dir c \
                   --checkpoint-every 20 --out m --logdir runs/1 --log-every 10";
    succeed(bench.train(options));
    succeed(bench.train(&format!("{options} --resume")));
    let starts = events(&bench.path("runs/1"));
    let starts = starts
        .iter()
        .filter(|event| matches!(event.what, tapeflow::summary::What::SessionStart))
        .map(|event| event.step);
    assert_eq!(starts.collect::<Vec<_>>(), [0, 20]);
}

#[test]
fn a_report_is_written_whole_or_refused_before_the_work() {
    let bench = Workbench::new();
    succeed(bench.train("--model fast --batch-size 100 --epochs 1 --out m"));
    let evaluate = |more: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_digits"));
        command.current_dir(bench.folder.path()).args(["evaluate", "m", "--data", "data"]);
        command.args(more.split_whitespace());
        command
    };
    let output = succeed(evaluate("--report out.html"));
    assert!(String::from_utf8_lossy(&output.stdout).contains("report written to out.html"));
    let page = fs::read_to_string(bench.path("out.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"));
    succeed(evaluate("--report again.html --json"));
    assert!(page == fs::read_to_string(bench.path("again.html")).unwrap());
    assert!(refused(evaluate("--report data"), 2).contains("is a directory"));
    assert!(refused(evaluate("--report none/out.html"), 2).contains("there is no directory none"));
}

/// Other systems' files have no such names.
#[cfg(target_os = "linux")]
#[test]
fn names_that_are_not_utf_8_are_told_as_well_as_can_be() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let bench = Workbench::new();
    let named = |name: &'static [u8]| OsStr::from_bytes(name);
    let model = named(b"m\xff.safetensors");
    let mut train = bench.train("--model fast --batch-size 100 --epochs 1 --json --out");
    train.arg(model);
    let output = succeed(train);
    let text = String::from_utf8(output.stdout).unwrap();
    let result: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(result["model"], "m\u{fffd}.safetensors");

    let mut evaluate = Command::new(env!("CARGO_BIN_EXE_digits"));
    evaluate.current_dir(bench.folder.path()).arg("evaluate").arg(model);
    evaluate.args(["--data", "data", "--json", "--report"]).arg(named(b"r\xff.html"));
    let evaluated: serde_json::Value = serde_json::from_slice(&succeed(evaluate).stdout).unwrap();
    assert_eq!(evaluated["model"], "m\u{fffd}.safetensors");
    assert_eq!(evaluated["report"], "r\u{fffd}.html");
    assert!(bench.folder.path().join(named(b"r\xff.html")).is_file());

    let mut train = Command::new(env!("CARGO_BIN_EXE_digits"));
    train.current_dir(bench.folder.path()).args(["train", "--data"]).arg(named(b"d\xff"));
    assert!(refused(train, 2).contains("only names in UTF-8"));
}
