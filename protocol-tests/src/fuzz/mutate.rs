//! Ways to spoil bytes: every one at every place, or some drawn at random.

use rand::Rng;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;

/// What lengths look like that mean no good: the largest, the negative, the null, the nearly right; of 8, 16 and 32 bits, and
/// as variable-length integers.
pub const HOSTILE: &[&[u8]] = &[
    &[0],
    &[1],
    &[0x7f],
    &[0x80],
    &[0xff],
    &[0x7f, 0xff],
    &[0xff, 0xff],
    &[0xff, 0xfe],
    &[0x7f, 0xff, 0xff, 0xff],
    &[0xff, 0xff, 0xff, 0xff],
    &[0xff, 0xff, 0xff, 0xfe],
    &[0x80, 0, 0, 0],
    &[0, 1, 0, 0],
    &[0, 0, 1, 0],
    &[0, 0x0f, 0xff, 0xff],
    // 2^32 - 1, 2^31 - 1, 2^21 - 1 and 2^14 - 1 in seven bits a byte; one that is too large; and one that never ends.
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0x07],
    &[0xff, 0xff, 0x7f],
    &[0xff, 0x7f],
    &[0xff, 0xff, 0xff, 0xff, 0x1f],
    &[0xff; 11],
];

/// Overwrites from a place on, as far as there is room.
pub fn overwrite(bytes: &[u8], at: usize, with: &[u8]) -> Vec<u8> {
    let mut spoiled = bytes.to_vec();
    let end = spoiled.len().min(at + with.len());
    if let Some(place) = spoiled.get_mut(at..end) {
        place.copy_from_slice(&with[..place.len()]);
    }
    spoiled
}

/// The same, and then bytes without end that could be anything: what a length claims may well be there.
pub fn overwrite_and_go_on(bytes: &[u8], at: usize, with: &[u8], more: usize, byte: u8) -> Vec<u8> {
    let mut spoiled = bytes[..at.min(bytes.len())].to_vec();
    spoiled.extend_from_slice(with);
    spoiled.resize(spoiled.len() + more, byte);
    spoiled
}

/// Some changes at once.
pub fn at_random(bytes: &[u8], others: &[bytes::Bytes], chance: &mut SmallRng) -> Vec<u8> {
    let mut spoiled = bytes.to_vec();
    for _ in 0..chance.random_range(1..=4) {
        change(&mut spoiled, others, chance);
    }
    spoiled.truncate(64 << 10);
    spoiled
}

fn change(bytes: &mut Vec<u8>, others: &[bytes::Bytes], chance: &mut SmallRng) {
    let at = chance.random_range(0..=bytes.len());
    match chance.random_range(0..8) {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << chance.random_range(0..8);
            }
        }
        1 => bytes.truncate(at),
        2 => *bytes = overwrite(bytes, at, HOSTILE.choose(chance).copied().unwrap_or_default()),
        3 => {
            let hostile = HOSTILE.choose(chance).copied().unwrap_or_default();
            bytes.splice(at..at, hostile.iter().copied());
        }
        4 => {
            // A part of it again, perhaps many times.
            let part = bytes[at..bytes.len().min(at + chance.random_range(1..64))].to_vec();
            let again = part.repeat(chance.random_range(1..20));
            bytes.splice(at..at, again);
        }
        5 => {
            let end = bytes.len().min(at + chance.random_range(1..16));
            bytes.drain(at..end);
        }
        6 => {
            // The end of another.
            if let Some(other) = others.choose(chance) {
                bytes.truncate(at);
                bytes.extend_from_slice(&other[at.min(other.len())..]);
            }
        }
        _ => {
            let noise: Vec<u8> = (0..chance.random_range(1..32)).map(|_| chance.random()).collect();
            *bytes = overwrite(bytes, at, &noise);
        }
    }
}
