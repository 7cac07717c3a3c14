//! What the machine has: its memory, as far as this process may use it, and its GPUs.

use std::fs;
use std::path::Path;

/// Gives the bytes of memory that may be in use: the machine's, or less where a control group says
/// so. `u64::MAX` where nothing tells.
pub fn memory() -> u64 {
    let total = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    let group = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = limit_files(&group).filter_map(|file| fs::read_to_string(file).ok());
    let limit = limits.filter_map(|text| text.trim().parse().ok()).min();
    total.unwrap_or(u64::MAX).min(limit.unwrap_or(u64::MAX))
}

/// Reads the machine's memory from `/proc/meminfo`.
fn total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// Gives the files that may hold the limit of a control group or of one above it, from
/// `/proc/self/cgroup`: `0::/a/b`, or in the older form `5:memory:/a/b`.
fn limit_files(text: &str) -> impl Iterator<Item = String> {
    text.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next().unwrap_or("?"), parts.next().unwrap_or("/"));
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            names if names.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => return Vec::new(),
        };
        let groups = Path::new(path).ancestors();
        groups.map(|group| format!("{root}{}/{file}", group.display()).replace("//", "/")).collect()
    })
}

/// Gives the ids of the GPUs that may be used: those that `CUDA_VISIBLE_DEVICES` names, else those
/// of NVIDIA's that have a device file.
pub fn gpus(visible: Option<&str>) -> Vec<String> {
    if let Some(visible) = visible {
        return named(visible);
    }
    let entries = fs::read_dir("/dev").into_iter().flatten();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut ids: Vec<u32> =
        names.filter_map(|name| name.strip_prefix("nvidia")?.parse().ok()).collect();
    ids.sort_unstable();
    ids.iter().map(u32::to_string).collect()
}

/// Reads a list of ids as CUDA does: those before the first that is none (`-1`), each once.
fn named(list: &str) -> Vec<String> {
    let ids = list.split(',').map(str::trim);
    let mut found: Vec<String> = Vec::new();
    for id in ids.take_while(|id| !id.is_empty() && !id.starts_with('-')) {
        if !found.iter().any(|known| known == id) {
            found.push(id.to_owned());
        }
    }
    found
}

/// Reads the value of `--gpus`: how many of those that there are, or a list of ids (`0,2`; `2,`
/// for the one of that id). `None` where it is neither.
pub fn parse_gpus(text: &str, visible: Option<&str>) -> Option<Vec<String>> {
    /// More than any machine has.
    const MOST: usize = 1024;
    if !text.contains(',') {
        let count = text.trim().parse().ok().filter(|count| *count <= MOST)?;
        let mut ids = gpus(visible);
        // Those that are not seen here are counted on, as the user says that they are there.
        for next in (0..count).map(|id: usize| id.to_string()) {
            if ids.len() < count && !ids.contains(&next) {
                ids.push(next);
            }
        }
        ids.truncate(count);
        return Some(ids);
    }
    let text = text.strip_suffix(',').unwrap_or(text);
    let ids = named(text);
    (ids.len() == text.split(',').count()).then_some(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_of_all_groups_above_count() {
        let files: Vec<String> = limit_files("0::/a/b\n3:cpu,memory:/x\n2:cpu:/y\n").collect();
        assert_eq!(
            files,
            [
                "/sys/fs/cgroup/a/b/memory.max",
                "/sys/fs/cgroup/a/memory.max",
                "/sys/fs/cgroup/memory.max",
                "/sys/fs/cgroup/memory/x/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            ]
        );
        assert_eq!(total("MemFree: 1 kB\nMemTotal:       2048 kB\n"), Some(2 << 20));
    }

    #[test]
    fn gpus_are_a_number_or_a_list() {
        assert_eq!(gpus(Some("2,GPU-1f,2,-1,3")), ["2", "GPU-1f"]);
        assert_eq!(gpus(Some("")), [""; 0]);
        let parse = |text| parse_gpus(text, Some("4,7"));
        assert_eq!(parse("1").unwrap(), ["4"]);
        assert_eq!(parse("3").unwrap(), ["4", "7", "0"]);
        assert_eq!(parse("0").unwrap(), [""; 0]);
        assert_eq!(parse("0,2").unwrap(), ["0", "2"]);
        assert_eq!(parse("2,").unwrap(), ["2"]);
        for wrong in ["", "two", "-1", "1,,2", ",", "1,1", "99999999999"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
