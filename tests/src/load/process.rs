//! The resources that a server's process uses, from `/proc`.

use std::fs;
use std::time::{Duration, Instant};

use super::Error;

/// Clock ticks of `/proc/<pid>/stat` per second, on every Linux today.
const TICKS_PER_SECOND: f64 = 100.0;

/// A process on this machine.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    since: Instant,
    cpu: Duration,
}

impl Process {
    /// The process with this id.
    ///
    /// # Errors
    /// If there is none.
    pub fn new(pid: u32) -> Result<Self, Error> {
        let mut process = Self { pid, since: Instant::now(), cpu: Duration::ZERO };
        process.take_cpu()?;
        Ok(process)
    }

    /// Bytes of memory that it uses, without the kernel's buffers for its sockets.
    ///
    /// # Errors
    /// If it has ended.
    pub fn memory(&self) -> Result<u64, Error> {
        let status = self.read("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
        Ok(kilobytes.unwrap_or_default() * 1024)
    }

    /// How many cores it has used since the last call.
    ///
    /// # Errors
    /// If it has ended.
    pub fn take_cpu(&mut self) -> Result<f64, Error> {
        let stat = self.read("stat")?;
        // The program's name, in parentheses, may have spaces in it.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks: f64 =
            fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
        let cpu = Duration::from_secs_f64(ticks / TICKS_PER_SECOND);
        let used = cpu.saturating_sub(std::mem::replace(&mut self.cpu, cpu));
        let elapsed = std::mem::replace(&mut self.since, Instant::now()).elapsed();
        Ok(used.as_secs_f64() / elapsed.as_secs_f64().max(0.001))
    }

    fn read(&self, file: &str) -> Result<String, Error> {
        let read = fs::read_to_string(format!("/proc/{}/{file}", self.pid));
        read.map_err(|error| Error::Io("the server's process", error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_takes_memory_and_time() {
        let mut process = Process::new(std::process::id()).unwrap();
        let before = process.memory().unwrap();
        let much = vec![1_u8; 64 * 1024 * 1024];
        assert!(process.memory().unwrap() > before + 32 * 1024 * 1024);
        // One tick is the least it can report.
        while process.take_cpu().unwrap() == 0.0 {
            std::hint::black_box(much.iter().map(|byte| u64::from(*byte)).sum::<u64>());
        }
        assert!(Process::new(u32::MAX).is_err());
    }
}
