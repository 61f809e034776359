//! What this machine has free for the process: memory and disk space.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// Bytes of memory that the process can still allocate: the available memory and swap of the machine, or less if its control groups
/// (containers, cluster jobs) or its limits (`ulimit -v`, `ulimit -d`) leave less. `None` if the system does not report them.
pub fn free_memory() -> Option<u64> {
    free_memory_of(Path::new("/"))
}

fn free_memory_of(root: &Path) -> Option<u64> {
    let machine = machine(root);
    let swap = machine.map_or(0, |(_, swap)| swap);
    machine
        .map(|(available, swap)| available + swap)
        .into_iter()
        .chain(control_groups(root, swap))
        .chain(limits(root))
        .min()
}

fn read(root: &Path, path: &str) -> Option<String> {
    fs::read_to_string(root.join(path)).ok()
}

/// The number after `key` in lines as `key 12 kB` or `key: 12`.
fn number(text: &str, key: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    let value = rest.trim_start_matches(':').split_whitespace().next()?;
    value.parse().ok()
}

/// Available memory and free swap.
fn machine(root: &Path) -> Option<(u64, u64)> {
    let text = read(root, "proc/meminfo")?;
    let bytes = |key| number(&text, key).map(|kib| kib * 1024);
    Some((bytes("MemAvailable")?, bytes("SwapFree").unwrap_or(0)))
}

/// What the limits of the process leave of its address space.
fn limits(root: &Path) -> Vec<u64> {
    let (Some(limits), Some(status)) = (
        read(root, "proc/self/limits"),
        read(root, "proc/self/status"),
    ) else {
        return Vec::new();
    };
    let left = |limit, used| {
        // "unlimited" is no number.
        let limit = number(&limits, limit)?;
        Some(limit.saturating_sub(number(&status, used)? * 1024))
    };
    let all = [("Max address space", "VmSize"), ("Max data size", "VmData")];
    all.into_iter()
        .filter_map(|(limit, used)| left(limit, used))
        .collect()
}

/// What each control group leaves, from the process's own group up to the root.
fn control_groups(root: &Path, free_swap: u64) -> Vec<u64> {
    let (Some(mounts), Some(groups)) = (
        read(root, "proc/self/mountinfo"),
        read(root, "proc/self/cgroup"),
    ) else {
        return Vec::new();
    };
    let mut left = Vec::new();
    for mount in mounts.lines() {
        let Some((place, kind)) = mount.split_once(" - ") else {
            continue;
        };
        let (place, kind): (Vec<&str>, Vec<&str>) =
            (place.split(' ').collect(), kind.split(' ').collect());
        let (Some(top), Some(at)) = (place.get(3), place.get(4)) else {
            continue;
        };
        let is_memory = |list: &str| list.split(',').any(|word| word == "memory");
        let version = match kind[..] {
            ["cgroup2", ..] => 2,
            ["cgroup", _, options, ..] if is_memory(options) => 1,
            _ => continue,
        };
        // `0::/path` or `5:cpu,memory:/path`.
        let own = groups.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            let found = if version == 2 {
                controllers.is_empty()
            } else {
                is_memory(controllers)
            };
            found.then_some(path)
        });
        let Some(own) = own else { continue };
        // A container sees only its part of the tree, but its path may be stated as seen from outside.
        let inside = own.strip_prefix(top.trim_end_matches('/')).unwrap_or(own);
        let at = PathBuf::from(at.trim_start_matches('/'));
        let mut group = at.clone();
        group.extend(
            Path::new(inside)
                .components()
                .filter(|part| matches!(part, Component::Normal(_))),
        );
        for group in group.ancestors().take_while(|group| group.starts_with(&at)) {
            let group = root.join(group);
            left.extend(if version == 2 {
                left_v2(&group, free_swap)
            } else {
                left_v1(&group, free_swap)
            });
        }
    }
    left
}

/// The number that a file holds; `None` for "max".
fn value(group: &Path, file: &str) -> Option<u64> {
    fs::read_to_string(group.join(file))
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// Cached file pages, which the system frees on demand.
fn cached(group: &Path, prefix: &str) -> u64 {
    let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    ["inactive_file", "active_file"]
        .iter()
        .filter_map(|key| number(&stat, &format!("{prefix}{key}")))
        .sum()
}

fn left_v2(group: &Path, free_swap: u64) -> Option<u64> {
    let used = value(group, "memory.current")?.saturating_sub(cached(group, ""));
    let memory = value(group, "memory.max")?.saturating_sub(used);
    let swap_used = value(group, "memory.swap.current").unwrap_or(0);
    let swap = match fs::read_to_string(group.join("memory.swap.max")) {
        Ok(_) => value(group, "memory.swap.max").map_or(free_swap, |max| {
            max.saturating_sub(swap_used).min(free_swap)
        }),
        Err(_) => 0,
    };
    Some(memory + swap)
}

fn left_v1(group: &Path, free_swap: u64) -> Option<u64> {
    // Without a limit, the file holds the largest multiple of the page size.
    let limit = |file| value(group, file).filter(|&limit| limit < 1 << 62);
    let cached = cached(group, "total_");
    let left = |limit: u64, used: &str| {
        Some(limit.saturating_sub(value(group, used)?.saturating_sub(cached)))
    };
    let memory = left(limit("memory.limit_in_bytes")?, "memory.usage_in_bytes")?;
    // This limit covers memory and swap together.
    let with_swap = limit("memory.memsw.limit_in_bytes")
        .and_then(|limit| left(limit, "memory.memsw.usage_in_bytes"))
        .unwrap_or(u64::MAX);
    Some((memory + free_swap).min(with_swap))
}

/// Bytes that are free for a user's files on the disk of `folder`; `None` if the system does not report them.
#[cfg(feature = "cli")]
pub fn free_disk(folder: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let disk = rustix::fs::statvfs(folder).ok()?;
        disk.f_bavail.checked_mul(disk.f_frsize)
    }
    #[cfg(not(unix))]
    {
        let _ = folder;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn machine_with(files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        let meminfo = "MemTotal:       9000000 kB\nMemAvailable:    1048576 kB\nSwapFree:          10240 kB\n";
        for (path, text) in [("proc/meminfo", meminfo)].iter().chain(files) {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        free_memory_of(root.path())
    }

    #[test]
    fn without_limits_it_is_what_the_machine_has() {
        let status = (
            "proc/self/status",
            "VmSize:\t  2048 kB\nVmData:\t  1024 kB\n",
        );
        let limits = "Max data size             unlimited            unlimited            bytes     \n\
                      Max address space         unlimited            unlimited            bytes     \n";
        assert_eq!(
            machine_with(&[status, ("proc/self/limits", limits)]),
            Some(1034 * MIB)
        );
        let limits = "Max data size             unlimited            unlimited            bytes     \n\
                      Max address space         104857600            unlimited            bytes     \n";
        assert_eq!(
            machine_with(&[status, ("proc/self/limits", limits)]),
            Some(98 * MIB)
        );
        let limits =
            "Max data size             1048576              unlimited            bytes     \n";
        assert_eq!(
            machine_with(&[status, ("proc/self/limits", limits)]),
            Some(0)
        );
    }

    /// A group inside a limited one; the mount shows a part of the tree, as in a container.
    #[test]
    fn the_tightest_group_counts() {
        for (top, own) in [("/", "/job/step"), ("/box", "/box/job/step")] {
            let mounts = format!(
                "24 1 0:22 / /proc rw - proc proc rw\n30 24 0:26 {top} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
            );
            let groups = format!("0::{own}\n");
            let mut files = vec![
                ("proc/self/mountinfo", mounts.as_str()),
                ("proc/self/cgroup", groups.as_str()),
                ("sys/fs/cgroup/job/step/memory.max", "max\n"),
                ("sys/fs/cgroup/job/step/memory.current", "1048576\n"),
                ("sys/fs/cgroup/job/memory.max", "209715200\n"),
                ("sys/fs/cgroup/job/memory.current", "104857600\n"),
                (
                    "sys/fs/cgroup/job/memory.stat",
                    "anon 5\ninactive_file 10485760\nactive_file 0\n",
                ),
            ];
            assert_eq!(machine_with(&files), Some(110 * MIB));
            files.push(("sys/fs/cgroup/job/memory.swap.max", "5242880\n"));
            assert_eq!(machine_with(&files), Some(115 * MIB));
            files.pop();
            files.push(("sys/fs/cgroup/job/memory.swap.max", "max\n"));
            assert_eq!(machine_with(&files), Some(120 * MIB));
        }
    }

    #[test]
    fn groups_of_the_first_version_count_too() {
        let mut files = vec![
            (
                "proc/self/mountinfo",
                "33 30 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n34 30 0:31 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
            ),
            (
                "proc/self/cgroup",
                "5:cpu:/docker/x\n4:memory:/docker/x\n0::/\n",
            ),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "104857600\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "94371840\n"),
            (
                "sys/fs/cgroup/memory/memory.stat",
                "inactive_file 1\ntotal_inactive_file 41943040\n",
            ),
        ];
        assert_eq!(machine_with(&files), Some(60 * MIB));
        files[2].1 = "9223372036854771712\n";
        assert_eq!(machine_with(&files), Some(1034 * MIB));
    }

    /// The machine of the test itself.
    #[cfg(target_os = "linux")]
    #[test]
    fn this_machine_tells() {
        assert!(free_memory().is_some_and(|free| free > MIB));
        #[cfg(feature = "cli")]
        assert!(free_disk(Path::new("/tmp")).is_some());
    }
}
