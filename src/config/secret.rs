//! Files that are not for everybody.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Larger files are neither tokens nor certificates.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Permissions that a file with secrets must not give: any to others. A group may be one that a
/// platform makes for the process.
const OTHERS: u32 = 0o007;

/// The text of a file with secrets.
///
/// # Errors
/// Words for an operator; also where others may read it.
pub fn text(path: &Path) -> Result<String, String> {
    String::from_utf8(bytes(path)?).map_err(|_| "is not UTF-8".to_owned())
}

/// As [`text`], for any bytes.
///
/// # Errors
/// As [`text`].
pub fn bytes(path: &Path) -> Result<Vec<u8>, String> {
    let file = File::open(path).map_err(unreadable)?;
    // Of the file that is open, not of one that may be in its place by now.
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();
    if mode & OTHERS != 0 {
        let mode = mode & 0o777;
        return Err(format!(
            "has mode {mode:03o}, so others may use it: chmod o-rwx, or defaultMode: 0440 in a pod"
        ));
    }
    let mut bytes = Vec::new();
    let read = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(unreadable)?;
    match bytes.len() as u64 > FILE_BYTES_MAX {
        true => Err(format!("is larger than {FILE_BYTES_MAX} bytes")),
        false => Ok(bytes),
    }
}

/// Puts `text` behind what is in a file with secrets; one that is not there is made, for its owner and
/// group alone.
///
/// # Errors
/// Words for an operator.
pub fn append(path: &Path, text: &str) -> Result<(), String> {
    let written = OpenOptions::new().create(true).append(true).mode(0o640).open(path);
    let written = written.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| format!("cannot be written: {error}"))
}

/// The bytes of a file that anybody may read.
///
/// # Errors
/// Words for an operator.
pub fn public_bytes(path: &Path) -> Result<Vec<u8>, String> {
    if fs::metadata(path).map_err(unreadable)?.len() > FILE_BYTES_MAX {
        return Err(format!("is larger than {FILE_BYTES_MAX} bytes"));
    }
    fs::read(path).map_err(unreadable)
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err gives it")]
fn unreadable(error: std::io::Error) -> String {
    format!("cannot be read: {error}")
}
