//! Copies, by recovery and repair: of bytes that are cut, to keep them, and of bytes onto themselves, to
//! have them written. And what both clear away: files of a compaction or rotation that was cut short.

use std::path::PathBuf;

use super::Error;
use super::directory::{Directory, Handle, MANIFEST_TMP, Name, is_spool};
use super::format::to_usize;
use super::manifest::Manifest;

/// Bytes copied at a time.
const COPY_BYTES: u64 = 1 << 20;

/// Copies `bytes` of `from`, beginning at `offset`, to a new file beside it; durable on return.
pub(super) fn keep_aside(
    directory: &Directory,
    from: &Handle,
    offset: u64,
    bytes: u64,
) -> Result<PathBuf, Error> {
    let original = from.path().file_name().and_then(|name| name.to_str()).unwrap_or("log");
    let taken = directory.list()?;
    let name = (1_u64..)
        .map(|attempt| format!("{original}.cut-at-{offset}.{attempt}"))
        .find(|name| !taken.contains(name))
        .expect("one of the numbers is free");
    let copy = directory.create(&name)?;
    if let Err(error) = transfer((from, offset), (&copy, 0), bytes) {
        // A part of it helps nobody, and takes space that may be what was missing.
        drop(directory.remove(&name));
        return Err(error);
    }
    copy.sync()?;
    directory.sync()?;
    Ok(directory.path_of(name))
}

/// Writes the bytes from `from` to `to` onto themselves. Not synced.
pub(super) fn rewrite(handle: &Handle, from: u64, to: u64) -> Result<(), Error> {
    transfer((handle, from), (handle, from), to - from)
}

fn transfer(from: (&Handle, u64), to: (&Handle, u64), bytes: u64) -> Result<(), Error> {
    let mut buffer = vec![0; to_usize(bytes.min(COPY_BYTES))];
    let mut done = 0;
    while done < bytes {
        let wanted = to_usize((bytes - done).min(COPY_BYTES));
        let read = from.0.read(&mut buffer[..wanted], from.1 + done)?;
        if read == 0 {
            break;
        }
        to.0.write(&buffer[..read], to.1 + done)?;
        done += read as u64;
    }
    Ok(())
}

/// Removes our own files that `manifest` does not name. Files whose names are not ours stay, always.
/// What cannot be removed stays until the next start.
pub(super) fn remove_leftovers(directory: &Directory, manifest: &Manifest) {
    let named = manifest.names();
    for name in directory.list().unwrap_or_default() {
        let is_leftover = match Name::parse(&name) {
            Some(ours) => !named.contains(&ours),
            None => name == MANIFEST_TMP || is_spool(&name),
        };
        if is_leftover {
            drop(directory.remove(&name));
        }
    }
}
