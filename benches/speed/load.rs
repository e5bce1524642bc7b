//! Load: threads that ask, wait for the answer and ask again, and how long that took each time.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

/// Latencies in buckets of about 1.5 % width.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    counts: Vec<u32>,
    total: u64,
}

/// Buckets between two powers of two.
const STEPS: u64 = 64;

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; 64 * 64], total: 0 }
    }

    fn bucket(nanos: u64) -> usize {
        let nanos = nanos.max(STEPS);
        let power = u64::from(nanos.ilog2());
        let step = (nanos >> (power - 6)) - STEPS;
        usize::try_from((power - 6) * STEPS + step).unwrap()
    }

    /// The upper end of a bucket, nanoseconds.
    fn upper(bucket: usize) -> u64 {
        let (power, step) = (bucket as u64 / STEPS, bucket as u64 % STEPS);
        (STEPS + step + 1) << power
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        self.counts[Self::bucket(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX >> 1))] += 1;
        self.total += 1;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (a, b) in self.counts.iter_mut().zip(&other.counts) {
            *a += b;
        }
        self.total += other.total;
    }

    /// The latency that `share` of all stay below, µs.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let wanted = (self.total as f64 * share).ceil().max(1.0);
        let mut seen = 0.0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += f64::from(*count);
            if seen >= wanted {
                return Self::upper(bucket) as f64 / 1e3;
            }
        }
        f64::NAN
    }

    /// The share of all that took at most so long.
    pub(crate) fn share_within(&self, limit: Duration) -> f64 {
        let last = Self::bucket(u64::try_from(limit.as_nanos()).unwrap());
        let within: u64 = self.counts[..=last].iter().map(|n| u64::from(*n)).sum();
        within as f64 / self.total.max(1) as f64
    }
}

/// What a load came to.
#[derive(Debug)]
pub(crate) struct Load {
    /// Completed a second.
    pub(crate) rate: f64,
    pub(crate) latency: Histogram,
    /// Completed in all, the warming up included.
    pub(crate) all: u64,
}

impl Load {
    /// The 99th percentile, µs.
    pub(crate) fn p99(&self) -> f64 {
        self.latency.quantile(0.99)
    }
}

const WARM: u8 = 0;
const MEASURE: u8 = 1;
const STOP: u8 = 2;

/// Runs `workers` threads for `time`, after a tenth of it to get warm. `make` gives each what it repeats; it returns
/// how many units of work one call was, 0 for one that does not count.
pub(crate) fn run<W>(workers: usize, time: Duration, make: impl Fn(usize) -> W + Sync) -> Load
where
    W: FnMut() -> u64 + Send,
{
    let phase = AtomicU8::new(WARM);
    let (phase, make) = (&phase, &make);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers)
            .map(|n| {
                std::thread::Builder::new()
                    .stack_size(256 * 1024)
                    .spawn_scoped(scope, move || {
                        let mut work = make(n);
                        let (mut latency, mut done, mut all) = (Histogram::new(), 0, 0);
                        loop {
                            let began = Instant::now();
                            let units = work();
                            all += units;
                            match phase.load(Ordering::Relaxed) {
                                WARM => {}
                                MEASURE => {
                                    done += units;
                                    if units > 0 {
                                        latency.record(began.elapsed());
                                    }
                                }
                                _ => return (latency, done, all),
                            }
                        }
                    })
                    .unwrap()
            })
            .collect();
        std::thread::sleep(time / 10);
        let began = Instant::now();
        phase.store(MEASURE, Ordering::Relaxed);
        std::thread::sleep(time);
        phase.store(STOP, Ordering::Relaxed);
        let elapsed = began.elapsed().as_secs_f64();
        let (mut latency, mut done, mut all) = (Histogram::new(), 0, 0);
        for thread in threads {
            let (its, n, of_all) = thread.join().unwrap();
            latency.merge(&its);
            done += n;
            all += of_all;
        }
        Load { rate: done as f64 / elapsed, latency, all }
    })
}
