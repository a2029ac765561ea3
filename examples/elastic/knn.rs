//! Which images are most like this one: nearest neighbours among feature vectors.
//!
//! The same search as `knn.c`, with the same arguments, answers and words, in Rust: each search is
//! one parallel region of the crate `omp`, so that a processor that is granted or taken away
//! counts from the next search on.

use omp::Schedule;
use std::io::{Write, stdout};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};

const FEATURES: usize = 64;
const FAMILIES: usize = 64;
const NEAREST: usize = 8;

type Image = [f32; FEATURES];

/// An image and how far it is.
#[derive(Clone, Copy)]
struct Hit {
    distance: f32,
    image: usize,
}

impl Hit {
    const NONE: Self = Self { distance: 1e30, image: usize::MAX };

    /// Of two images at the same distance, the first: the answer does not depend on who found which.
    fn is_nearer(self, other: Self) -> bool {
        self.distance < other.distance
            || (self.distance == other.distance && self.image < other.image)
    }
}

/// The nearest hits, nearest first.
#[derive(Clone, Copy)]
struct Nearest([Hit; NEAREST]);

impl Nearest {
    fn keep(&mut self, hit: Hit) {
        let hits = &mut self.0;
        if !hit.is_nearer(hits[NEAREST - 1]) {
            return;
        }
        let mut at = NEAREST - 1;
        while at > 0 && hit.is_nearer(hits[at - 1]) {
            hits[at] = hits[at - 1];
            at -= 1;
        }
        hits[at] = hit;
    }
}

struct Noise(u32);

impl Noise {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) as f32 / (1 << 24) as f32 - 0.5
    }
}

/// Images in families, whose features differ little.
fn make(images: usize) -> Vec<Image> {
    let mut noise = Noise(2026);
    let mut centres = [[0.0; FEATURES]; FAMILIES];
    centres.as_flattened_mut().fill_with(|| 4.0 * noise.next());
    (0..images).map(|image| centres[image % FAMILIES].map(|centre| centre + noise.next())).collect()
}

/// The images nearest to this one, and how many threads looked.
fn search(all: &[Image], wanted: &Image) -> (Nearest, usize) {
    let threads = AtomicUsize::new(1);
    let found = omp::reduce(
        0..all.len(),
        Schedule::Static,
        || {
            threads.fetch_max(omp::num_threads(), Ordering::Relaxed);
            Nearest([Hit::NONE; NEAREST])
        },
        |mine, image| {
            let differences = all[image].iter().zip(wanted).map(|(one, other)| one - other);
            let distance = differences.fold(0.0, |sum, difference| sum + difference * difference);
            mine.keep(Hit { distance, image });
        },
        |best, mine| mine.0.into_iter().for_each(|hit| best.keep(hit)),
    );
    (found, threads.into_inner())
}

/// The next image to look for.
fn following(wanted: usize, images: usize) -> usize {
    (wanted + 7919) % images
}

/// Says what is wrong with an answer: the neighbours of an image must be its own family.
fn check(found: &Nearest, wanted: usize) -> Result<(), String> {
    if found.0[0].image != wanted {
        return Err(format!("{wanted} is not itself"));
    }
    match found.0.iter().find(|hit| hit.image % FAMILIES != wanted % FAMILIES) {
        Some(hit) => Err(format!("{} is not of the family of {wanted}", hit.image)),
        None => Ok(()),
    }
}

fn tell_answers(all: &[Image], answers: usize) {
    let mut wanted = 0;
    for _ in 0..answers {
        let (found, _) = search(all, &all[wanted]);
        let images: Vec<String> = found.0.iter().map(|hit| hit.image.to_string()).collect();
        println!("{wanted}: {}", images.join(" "));
        wanted = following(wanted, all.len());
    }
}

fn search_for(all: &[Image], seconds: f64) -> Result<(), String> {
    let begun = omp::wtime();
    let (mut told, mut wanted) = (begun, 0);
    let (mut searches, mut threads) = (0, 0);
    while omp::wtime() - begun < seconds {
        let (found, looked) = search(all, &all[wanted]);
        check(&found, wanted)?;
        searches += 1;
        threads += looked;
        wanted = following(wanted, all.len());
        let now = omp::wtime();
        if now - told < 0.5 {
            continue;
        }
        let rate = f64::from(searches) * all.len() as f64 / (now - told);
        let mean = threads as f64 / f64::from(searches);
        println!("{:5.1} s  {rate:9.0} images/s  {mean:.1} threads", now - begun);
        stdout().flush().map_err(|error| error.to_string())?;
        (told, searches, threads) = (now, 0, 0);
    }
    Ok(())
}

/// The argument at this place, if it is there; an error if it is not a number.
fn argument<T: FromStr>(index: usize, default: T) -> Result<T, String> {
    let text = std::env::args().nth(index);
    text.map_or(Ok(default), |text| text.parse().map_err(|_| format!("{text} is not a number")))
}

fn run() -> Result<(), String> {
    let (images, seconds) = (argument(1, 50_000)?, argument(2, 10.0)?);
    if images < FAMILIES * NEAREST {
        return Err(format!("{images} images"));
    }
    let all = make(images);
    tell_answers(&all, argument(3, 0)?);
    search_for(&all, seconds)
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(wrong) => {
            eprintln!("{wrong}");
            ExitCode::FAILURE
        }
    }
}
