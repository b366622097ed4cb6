//! Files that are written whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};

/// What the names of unfinished files end with.
pub(crate) const TEMPORARY_SUFFIX: &str = ".tmp";

/// Writes a file so that a reader, or a crash at any moment, finds either the old content or all of
/// the new.
///
/// The content goes to a temporary file beside `path`, which is synced, renamed to `path`, and made
/// durable by syncing the directory. A device or pipe is written to as it is, since renaming would
/// replace it.
///
/// # Errors
/// An I/O error of `write` or of the file system, naming the file; a full disk or quota is
/// [`is_resource_exhausted`](Error::is_resource_exhausted). The temporary file is then removed and
/// the old content is untouched.
///
/// ```
/// use tapeflow_core::io::write_atomically;
///
/// let path = std::env::temp_dir().join(format!("tapeflow-doc-{}", std::process::id()));
/// write_atomically(&path, |file| file.write_all(b"whole"))?;
/// assert_eq!(std::fs::read(&path).unwrap(), b"whole");
/// # std::fs::remove_file(path).unwrap();
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn write_atomically(
    path: impl AsRef<Path>,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    let path = path.as_ref();
    try_write(path, write).map_err(|error| write_error(path, error))
}

fn try_write(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    // A link keeps pointing to the file it points to.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    if fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file()) {
        return write_through(OpenOptions::new().write(true).open(&path)?, write).map(drop);
    }
    let (temporary, file) = create_beside(&path)?;
    let written = write_through(file, write)
        .and_then(|file| file.sync_all())
        .and_then(|()| fs::rename(&temporary, &path));
    if written.is_err() {
        // The error that is reported is the first one; the file may not even exist.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    sync_directory(directory_of(&path))
}

fn write_through(
    file: File,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<File> {
    let mut writer = BufWriter::with_capacity(1 << 16, file);
    write(&mut writer)?;
    writer.into_inner().map_err(|error| error.into_error())
}

fn create_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().ok_or_else(|| io::Error::from(ErrorKind::InvalidFilename))?;
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut temporary = std::ffi::OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{}.{number}{TEMPORARY_SUFFIX}", process::id()));
        let temporary = path.with_file_name(temporary);
        match OpenOptions::new().write(true).create_new(true).open(&temporary) {
            Ok(file) => return Ok((temporary, file)),
            // Left by a process of the same id that was killed.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes renames and removals in `directory` durable.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    // Elsewhere a directory cannot be opened as a file.
    if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
}

fn write_error(path: &Path, error: io::Error) -> Error {
    let message = format!("writing {}", path.display());
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            Error::resource_exhausted(message).with_source(error)
        }
        _ => Error::io(message, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_failed_write_leaves_the_old_content_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        write_atomically(&path, |file| file.write_all(b"old")).unwrap();
        let error = write_atomically(&path, |file| {
            file.write_all(&[1; 200_000])?;
            Err(io::Error::other("the writer gave up"))
        })
        .unwrap_err();
        assert!(error.is_io());
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(directory.path()), ["file"]);
    }

    #[test]
    fn a_missing_directory_and_a_directory_are_errors() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("none/file");
        assert!(write_atomically(&missing, |file| file.write_all(b"x")).unwrap_err().is_io());
        assert!(write_atomically(directory.path(), |file| file.write_all(b"x")).is_err());
        assert!(names(directory.path()).is_empty());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_device_is_resource_exhausted() {
        let error = write_atomically("/dev/full", |file| file.write_all(&[0; 10])).unwrap_err();
        assert!(error.is_resource_exhausted(), "{error:?}");
        assert!(error.to_string().starts_with("writing /dev/full: "), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write_atomically(&link, |file| file.write_all(b"new")).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }
}
