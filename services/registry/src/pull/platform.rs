//! Which entry of an index this node runs (OCI image specification, "Image Index"; Go's names for platforms).

use serde::Deserialize;

/// The platform of an entry. Every member may be missing, or be of a form that nobody knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Platform {
    #[serde(default)]
    pub(super) architecture: String,
    #[serde(default)]
    pub(super) os: String,
    #[serde(default)]
    pub(super) variant: Option<String>,
}

/// What a node can run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Machine {
    os: &'static str,
    /// Architectures with the variants that run, the best first. No variant stands for the lowest.
    runs: Vec<(&'static str, u32)>,
}

impl Machine {
    /// This node.
    pub(super) fn this() -> Self {
        Self::from_names(std::env::consts::OS, std::env::consts::ARCH, amd64_level())
    }

    /// A machine by Rust's names for it; `level` is what its CPU knows of x86-64 (1 to 4).
    fn from_names(os: &'static str, architecture: &'static str, level: u32) -> Self {
        let runs = match architecture {
            "x86_64" => vec![("amd64", level), ("386", 0)],
            "aarch64" => vec![("arm64", 8), ("arm", 8)],
            "arm" => vec![("arm", 7)],
            "x86" => vec![("386", 0)],
            "powerpc64" => vec![("ppc64le", 0)],
            other => vec![(other, 0)],
        };
        Self { os: if os == "macos" { "linux" } else { os }, runs }
    }

    /// How well a platform fits: larger is better. None where it does not run here.
    pub(super) fn rank(&self, platform: &Platform) -> Option<(usize, u32)> {
        let os = platform.os.to_ascii_lowercase();
        let architecture = platform.architecture.to_ascii_lowercase();
        let (architecture, implied) = normalize(&architecture);
        let at = self.runs.iter().position(|(runs, _)| *runs == architecture)?;
        let (_, highest) = self.runs.get(at)?;
        let variant = match (platform.variant.as_deref().unwrap_or_default(), implied) {
            ("", implied) => implied,
            (text, _) => text.trim_start_matches(['v', 'V']).split('.').next()?.parse().ok()?,
        };
        let runs = (os == self.os || os.is_empty()) && (variant <= *highest || *highest == 0 && variant == 0);
        runs.then(|| (self.runs.len().saturating_sub(at), variant))
    }
}

/// One name for each architecture, with the variant that an older name stands for.
fn normalize(architecture: &str) -> (&str, u32) {
    match architecture {
        "x86_64" | "x86-64" | "amd64" => ("amd64", 1),
        "aarch64" | "arm64" => ("arm64", 8),
        "armhf" => ("arm", 7),
        "armel" => ("arm", 6),
        "arm" => ("arm", 7),
        "i386" | "i686" | "x86" | "386" => ("386", 0),
        other => (other, 0),
    }
}

/// The microarchitecture level of this CPU (x86-64 psABI).
#[cfg(target_arch = "x86_64")]
fn amd64_level() -> u32 {
    let v2 = is_x86_feature_detected!("sse4.2") && is_x86_feature_detected!("popcnt");
    let v3 =
        v2 && is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi2") && is_x86_feature_detected!("fma");
    let v4 = v3 && is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
    1 + u32::from(v2) + u32::from(v3) + u32::from(v4)
}

#[cfg(not(target_arch = "x86_64"))]
fn amd64_level() -> u32 {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        let mut parts = text.split('/').map(str::to_owned);
        let mut next = || parts.next();
        Platform { os: next().unwrap_or_default(), architecture: next().unwrap_or_default(), variant: next() }
    }

    #[test]
    fn the_best_that_runs_is_taken() {
        let cases: [(&str, u32, &[&str], Option<&str>); 17] = [
            ("x86_64", 3, &["linux/arm64", "linux/amd64"], Some("linux/amd64")),
            ("x86_64", 3, &["linux/amd64", "linux/amd64/v3"], Some("linux/amd64/v3")),
            ("x86_64", 2, &["linux/amd64", "linux/amd64/v3"], Some("linux/amd64")),
            ("x86_64", 2, &["linux/amd64/v2", "linux/amd64/v3", "linux/amd64/v1"], Some("linux/amd64/v2")),
            ("x86_64", 1, &["linux/amd64/v2", "linux/amd64/v3"], None),
            ("x86_64", 1, &["linux/386"], Some("linux/386")),
            ("x86_64", 1, &["linux/386", "linux/amd64"], Some("linux/amd64")),
            ("x86_64", 1, &["windows/amd64"], None),
            ("x86_64", 1, &["linux/x86_64"], Some("linux/x86_64")),
            ("x86_64", 1, &["Linux/AMD64"], Some("Linux/AMD64")),
            ("x86_64", 1, &["linux/amd64/nonsense"], None),
            ("x86_64", 1, &["linux/riscv64", "linux/s390x"], None),
            ("aarch64", 1, &["linux/arm64/v8", "linux/arm/v7"], Some("linux/arm64/v8")),
            ("aarch64", 1, &["linux/arm/v6", "linux/arm/v7"], Some("linux/arm/v7")),
            ("aarch64", 1, &["linux/arm64/v9"], None),
            ("arm", 1, &["linux/arm/v5", "linux/arm/v6", "linux/arm/v8"], Some("linux/arm/v6")),
            ("s390x", 1, &["linux/amd64", "linux/s390x"], Some("linux/s390x")),
        ];
        for (architecture, level, offered, expected) in cases {
            let machine = Machine::from_names("linux", architecture, level);
            let best = offered.iter().filter_map(|text| Some((machine.rank(&platform(text))?, *text)));
            assert_eq!(best.max().map(|(_, text)| text), expected, "{architecture} v{level}: {offered:?}");
        }
    }
}
