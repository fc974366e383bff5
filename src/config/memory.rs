//! How much memory the process may use: what its cgroup allows, else what the machine has.

use std::fs;
use std::path::{Path, PathBuf};

/// What is assumed where nothing can be found out: 1 GiB.
const UNKNOWN_BYTES: u64 = 1 << 30;

/// Limits above this mean that there is none; version 1 writes a number near 2^63.
const NO_LIMIT_BYTES: u64 = 1 << 60;

/// Bytes the process may use.
pub(super) fn allowed_bytes() -> u64 {
    allowed_in(Path::new("/"))
}

fn allowed_in(root: &Path) -> u64 {
    let limits = cgroup_files(root).into_iter().filter_map(|file| limit(&file));
    limits.chain(machine(root)).min().unwrap_or(UNKNOWN_BYTES)
}

/// The files that may hold a limit: of the process's own group and of each group around it. Inside a
/// container the group is often seen as the root of what is mounted, so that is looked at as well.
fn cgroup_files(root: &Path) -> Vec<PathBuf> {
    let mounted = root.join("sys/fs/cgroup");
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mut files = Vec::new();
    for line in groups.lines() {
        // Version 2: "0::/path". Version 1: "5:memory:/path".
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let (top, name) = if controllers.is_empty() {
            (mounted.clone(), "memory.max")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            (mounted.join("memory"), "memory.limit_in_bytes")
        } else {
            continue;
        };
        let group = Path::new(path.trim_start_matches('/'));
        files.extend(group.ancestors().map(|group| top.join(group).join(name)));
    }
    files
}

fn limit(file: &Path) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.trim().parse().ok().filter(|limit| (1..NO_LIMIT_BYTES).contains(limit))
}

/// Physical memory.
fn machine(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(&str, &str)], expected: u64) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        assert_eq!(allowed_in(root.path()), expected, "{files:?}");
    }

    #[test]
    fn the_tightest_limit_holds() {
        let machine = ("proc/meminfo", "MemTotal:       16384 kB\nMemFree: 1 kB\n");
        let two = ("proc/self/cgroup", "0::/a/b\n");
        check(&[], UNKNOWN_BYTES);
        check(&[machine], 16 << 20);
        check(&[machine, two, ("sys/fs/cgroup/a/b/memory.max", "max\n")], 16 << 20);
        check(&[machine, two, ("sys/fs/cgroup/a/b/memory.max", "4096\n")], 4096);
        check(
            &[
                machine,
                two,
                ("sys/fs/cgroup/a/b/memory.max", "8192\n"),
                ("sys/fs/cgroup/a/memory.max", "4096\n"),
            ],
            4096,
        );
        check(&[machine, two, ("sys/fs/cgroup/memory.max", "2048\n")], 2048);
        let one = ("proc/self/cgroup", "5:cpu,memory:/a\n4:pids:/\n");
        check(&[machine, one, ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "9\n")], 9);
        check(
            &[machine, one, ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712")],
            16 << 20,
        );
    }
}
