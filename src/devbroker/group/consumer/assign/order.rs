//! The order in which Java's hash tables hand out what they hold. Kafka's assignors go through such tables, and who comes
//! first gets the odd partition: to share out as Kafka does, one has to count in the same order.

use crate::protocol::types::Uuid;

/// The size of an empty table (`HashMap.DEFAULT_INITIAL_CAPACITY`).
const SMALLEST: usize = 16;

/// `String.hashCode`
pub fn text(text: &str) -> i32 {
    text.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

/// `org.apache.kafka.common.Uuid.hashCode`
pub fn uuid(id: Uuid) -> i32 {
    let bits = u128::from_be_bytes(id.0);
    let folded = (bits >> 64) as u64 ^ bits as u64;
    ((folded >> 32) as u32 ^ folded as u32) as i32
}

/// `Integer.hashCode`
pub fn number(number: i32) -> i32 {
    number
}

/// As a `HashMap` hands them out into which they were put in this order, one by one.
pub fn grown<T>(items: Vec<T>, hash: impl Fn(&T) -> i32) -> Vec<T> {
    let mut capacity = SMALLEST;
    while 4 * items.len() > 3 * capacity {
        capacity *= 2;
    }
    ordered(items, capacity, hash)
}

/// As a `HashSet` hands them out that was made from a collection: it is given its size at once.
pub fn copied<T>(items: Vec<T>, hash: impl Fn(&T) -> i32) -> Vec<T> {
    // Java reckons with 32-bit floats here, as this does.
    let wanted = (items.len() as f32 / 0.75) as usize + 1;
    let capacity = wanted.max(SMALLEST).next_power_of_two();
    ordered(items, capacity, hash)
}

/// Bucket by bucket; within a bucket, first come, first served.
fn ordered<T>(mut items: Vec<T>, capacity: usize, hash: impl Fn(&T) -> i32) -> Vec<T> {
    items.sort_by_key(|item| {
        let hash = hash(item) as u32;
        (hash ^ hash >> 16) as usize & (capacity - 1)
    });
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_javas() {
        assert_eq!((text("uniform"), text("range"), text("")), (-286_926_412, 108_280_125, 0));
        let id = Uuid(*b"\x01\x02\x03\x04\x05\x06\x07\x08\x11\x12\x13\x14\x15\x16\x17\x18");
        assert_eq!(uuid(id), 0x1010_1010 ^ 0x1010_1010);
    }

    #[test]
    fn small_numbers_come_in_order_and_large_ones_wrap_around() {
        let numbers = |numbers: &[i32]| grown(numbers.to_vec(), |it| number(*it));
        assert_eq!(numbers(&[3, 1, 2]), [1, 2, 3]);
        assert_eq!(numbers(&[17, 3, 32]), [32, 17, 3]);
        assert_eq!(copied(vec![17, 3, 32], |it| number(*it)), [32, 17, 3]);
    }
}
