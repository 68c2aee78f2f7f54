//! Random changes of valid inputs: bits, numbers, lengths, pieces, whole files.

/// Files with their names. A decoder of a single text or block gets one file of any name.
pub type Input = Vec<(String, Vec<u8>)>;
/// Corrects the checksums of a file, which it knows by the name.
pub type Repair = fn(&str, &mut [u8]);

/// Pseudo-random numbers from a seed, by SplitMix64.
pub struct Dice(u64);

impl Dice {
    pub const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Returns a number below `end`, or 0 if `end` is 0.
    pub const fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.next() % end as u64) as usize }
    }
}

/// Numbers at which arithmetic is likely to go wrong.
const EDGES: [u64; 16] = [
    0,
    1,
    2,
    3,
    7,
    0x7F,
    0x80,
    0xFF,
    0x100,
    0x7FFF,
    0xFFFF,
    0x1_0000,
    0x7FFF_FFFF,
    0xFFFF_FFFF,
    u64::MAX / 2,
    u64::MAX,
];

/// Changes one of `seeds` at random. Every other result gets its checksums corrected.
pub fn mutate(seeds: &[Input], repair: Repair, dice: &mut Dice) -> Input {
    let mut input = seeds[dice.below(seeds.len())].clone();
    let is_repaired = dice.below(2) == 0;
    for _ in 0..=dice.below(4) {
        if input.len() > 1 && dice.below(12) == 0 {
            change_files(&mut input, dice);
            continue;
        }
        let at = dice.below(input.len());
        let other = &seeds[dice.below(seeds.len())];
        let other = &other[dice.below(other.len())].1;
        change(&mut input[at].1, other, dice);
    }
    if is_repaired {
        for (path, bytes) in &mut input {
            repair(path, bytes);
        }
    }
    input
}

/// Removes, copies or swaps whole files.
fn change_files(input: &mut Input, dice: &mut Dice) {
    let one = dice.below(input.len());
    let two = dice.below(input.len());
    match dice.below(3) {
        0 => drop(input.remove(one)),
        1 => input[one].1 = input[two].1.clone(),
        _ => {
            let first = input[one].1.clone();
            let second = input[two].1.clone();
            input[one].1 = second;
            input[two].1 = first;
        }
    }
}

/// Makes one small change of `bytes`; `other` is where foreign pieces come from.
fn change(bytes: &mut Vec<u8>, other: &[u8], dice: &mut Dice) {
    // Headers decide most, so every other change is near the beginning of a block.
    let len = bytes.len();
    let block = dice.below(len / 512 + 1) * 512;
    let at = if dice.below(2) == 0 {
        (block + dice.below(128)).min(len.saturating_sub(1))
    } else {
        dice.below(len)
    };
    let piece = [1, 2, 4, 8, 16, 96, 512, 4096][dice.below(8)];
    let end = (at + piece).min(len);
    match dice.below(10) {
        0 if len > 0 => bytes[at] ^= 1 << dice.below(8),
        1 if len > 0 => bytes[at] = dice.next() as u8,
        2 | 3 => {
            let width = [1, 2, 4, 8][dice.below(4)];
            let edge = EDGES[dice.below(EDGES.len())].wrapping_add(dice.below(3) as u64).wrapping_sub(1);
            for (to, from) in bytes.iter_mut().skip(at).take(width).zip(edge.to_le_bytes()) {
                *to = from;
            }
        }
        4 => {
            let number = bytes.get(at).copied().unwrap_or_default();
            let delta = dice.below(9) as u8;
            bytes.get_mut(at).into_iter().for_each(|byte| *byte = number.wrapping_add(delta).wrapping_sub(4));
        }
        5 => bytes.truncate(at),
        6 => drop(bytes.drain(at..end)),
        7 => {
            let piece = bytes[at..end].to_vec();
            bytes.splice(at..at, piece);
        }
        8 => {
            let from = dice.below(other.len());
            let piece = other[from..(from + piece).min(other.len())].to_vec();
            if dice.below(2) == 0 {
                bytes.splice(at..at, piece);
            } else {
                bytes.splice(at..(at + piece.len()).min(len), piece);
            }
        }
        _ => bytes[at..end].fill([0, 0xFF, b'a'][dice.below(3)]),
    }
}
