//! Hours of a class through the core, as fast as it goes: its memory has to stay level while layers are switched,
//! viewers come and go, and the publisher starts anew. The figures are printed as JSON; the exit code judges them.
//!
//! `cargo run --release --manifest-path media/router/Cargo.toml --example soak -- --seconds 3600`

mod class;

use std::process::ExitCode;
use std::time::Instant;

use _router::stats::Counter;
use class::{Class, STEP_US};

const STEPS_PER_S: u64 = 1_000_000 / STEP_US;
const SAMPLES: u64 = 60;
const RESTARTS: u64 = 12;
/// Linux tells times in hundredths of a second.
const TICKS_PER_S: f64 = 100.0;

/// How long, and what happens meanwhile, spread evenly.
#[derive(Debug, Clone, Copy)]
struct Plan {
    seconds: u64,
    viewers: u64,
    joins: u64,
    switches: u64,
    max_slope_kib_per_hour: f64,
}

impl Default for Plan {
    fn default() -> Self {
        Self { seconds: 3600, viewers: 24, joins: 500, switches: 10_000, max_slope_kib_per_hour: 256.0 }
    }
}

impl Plan {
    fn from_arguments(arguments: impl Iterator<Item = String>) -> Option<Self> {
        let mut plan = Self::default();
        let mut arguments = arguments;
        while let Some(name) = arguments.next() {
            let value = arguments.next()?;
            match name.as_str() {
                "--seconds" => plan.seconds = value.parse().ok()?,
                "--viewers" => plan.viewers = value.parse().ok()?,
                "--joins" => plan.joins = value.parse().ok()?,
                "--switches" => plan.switches = value.parse().ok()?,
                "--max-slope" => plan.max_slope_kib_per_hour = value.parse().ok()?,
                _ => return None,
            }
        }
        Some(plan)
    }
}

struct Findings {
    plan: Plan,
    /// (seconds of stream time, resident KiB).
    rss: Vec<(f64, f64)>,
    slope_kib_per_hour: f64,
    ordered: u64,
    switches: u64,
    other_switches: u64,
    forwarded: u64,
    sent_again: u64,
    nacks_out: u64,
    commands_ignored: u64,
    wall_s: f64,
    cpu_s: f64,
}

impl Findings {
    fn faults(&self) -> Vec<&'static str> {
        let faults = [
            ("memory grows", self.slope_kib_per_hour > self.plan.max_slope_kib_per_hour),
            ("too few layer switches", self.switches < self.plan.switches),
            ("commands were ignored", self.commands_ignored > 0),
            ("nothing was repaired", self.sent_again == 0 || self.nacks_out == 0),
        ];
        faults.into_iter().filter_map(|(fault, is_so)| is_so.then_some(fault)).collect()
    }

    fn json(&self) -> String {
        let rss: Vec<String> = self.rss.iter().map(|(second, kib)| format!("[{second:.0}, {kib:.0}]")).collect();
        let faults: Vec<String> = self.faults().iter().map(|fault| format!("\"{fault}\"")).collect();
        let Plan { seconds, viewers, joins, switches, max_slope_kib_per_hour } = self.plan;
        format!(
            "{{\"stream_s\": {seconds}, \"viewers\": {viewers}, \"joins\": {joins}, \"restarts\": {RESTARTS}, \
             \"min_switches\": {switches}, \"ordered\": {}, \"switches\": {}, \"other_switches\": {}, \
             \"forwarded\": {}, \"sent_again\": {}, \"nacks_out\": {}, \"slope_kib_per_hour\": {:.1}, \"max_slope_kib_per_hour\": {max_slope_kib_per_hour:.1}, \
             \"wall_s\": {:.1}, \"cpu_s\": {:.1}, \"faults\": [{}], \"rss_kib\": [{}]}}",
            self.ordered,
            self.switches,
            self.other_switches,
            self.forwarded,
            self.sent_again,
            self.nacks_out,
            self.slope_kib_per_hour,
            self.wall_s,
            self.cpu_s,
            faults.join(", "),
            rss.join(", "),
        )
    }
}

fn rss_kib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has a size");
    line.trim().trim_end_matches(" kB").parse().expect("KiB")
}

fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    // proc(5): the name in brackets may hold blanks; utime and stime are the 12th and 13th after it.
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    after_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>()
        / TICKS_PER_S
}

/// Least squares of the second half, in KiB per hour of stream time.
fn slope_kib_per_hour(rss: &[(f64, f64)]) -> f64 {
    let half = &rss[rss.len() / 2..];
    let count = half.len() as f64;
    let mean_s = half.iter().map(|(s, _)| s).sum::<f64>() / count;
    let mean_kib = half.iter().map(|(_, kib)| kib).sum::<f64>() / count;
    let covariance = half.iter().map(|(s, kib)| (s - mean_s) * (kib - mean_kib)).sum::<f64>();
    let variance = half.iter().map(|(s, _)| (s - mean_s).powi(2)).sum::<f64>();
    covariance / variance * 3600.0
}

/// How many of `count` points, spread evenly over `steps`, lie in this step.
fn due(count: u64, step: u64, steps: u64) -> u64 {
    (step + 1) * count / steps - step * count / steps
}

fn soak(plan: Plan) -> Findings {
    let (began, cpu_before_s) = (Instant::now(), cpu_s());
    let mut class = Class::new(plan.viewers as usize);
    let steps = plan.seconds * STEPS_PER_S;
    let mut rss = Vec::with_capacity(SAMPLES as usize);
    // Some viewers leave before the key frame that they were to switch at.
    let orders = plan.switches + plan.switches / 20;
    let mut owed = 0;
    for step in 0..steps {
        for _ in 0..due(plan.joins, step, steps) {
            class.leave();
            class.join();
        }
        if due(RESTARTS + 1, step, steps) > 0 && step + 1 < steps {
            class.restart_publisher();
        }
        owed += due(orders, step, steps);
        while owed > 0 && class.switch() {
            owed -= 1;
        }
        class.step();
        if due(SAMPLES, step, steps) > 0 {
            rss.push(((step + 1) as f64 / STEPS_PER_S as f64, rss_kib()));
        }
    }
    let counters = &class.core.counters;
    Findings {
        plan,
        slope_kib_per_hour: slope_kib_per_hour(&rss),
        rss,
        ordered: class.ordered,
        switches: class.obeyed,
        other_switches: class.others,
        forwarded: counters.get(Counter::RtpOut),
        sent_again: counters.get(Counter::RtxOut),
        nacks_out: counters.get(Counter::NacksOut),
        commands_ignored: counters.get(Counter::CommandsIgnored),
        wall_s: began.elapsed().as_secs_f64(),
        cpu_s: cpu_s() - cpu_before_s,
    }
}

fn main() -> ExitCode {
    let Some(plan) = Plan::from_arguments(std::env::args().skip(1)) else {
        eprintln!("soak [--seconds N] [--viewers N] [--joins N] [--switches N] [--max-slope KIB_PER_HOUR]");
        return ExitCode::from(2);
    };
    let findings = soak(plan);
    println!("{}", findings.json());
    if findings.faults().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_of_joins_and_switches_leaves_memory_level() {
        // Half a minute of growth counts as an hour's: 100 KiB of it are allowed.
        let plan = Plan { seconds: 60, viewers: 6, joins: 10, switches: 200, max_slope_kib_per_hour: 12_000.0 };
        let findings = soak(plan);
        assert_eq!(findings.faults(), [""; 0], "{}", findings.json());
    }

    #[test]
    fn the_slope_is_that_of_the_second_half() {
        let samples: Vec<(f64, f64)> = (0..60).map(|i| (f64::from(i) * 60.0, f64::from(i.max(30)) * 2.0)).collect();
        assert!((slope_kib_per_hour(&samples) - 120.0).abs() < 1e-6);
        assert!(slope_kib_per_hour(&samples[..31]).abs() < 1e-6);
    }
}
