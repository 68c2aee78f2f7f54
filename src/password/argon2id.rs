//! Two implementations of argon2id and its variants: the reference `argon2`, which is the most read and most used one, and
//! `argon2-rust`, which uses vector instructions and huge pages. The second is used only where it has just given the
//! same bytes as the first. The page of [`super`] says why it is the default.

use std::fmt;
use std::sync::Arc;

use argon2::{Algorithm, Argon2, Block, Params, Version};

use super::cost::{Cost, PhcError};
use super::pepper::Peppers;

/// The implementation of argon2id to use (`password.implementation`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Choice {
    /// The one with vector instructions, if it is compiled in and passes its self-test.
    #[default]
    Auto,
    /// The reference.
    Reference,
}

/// A variant of argon2. Our own hashes are [`Variant::ID`]; the others come from other systems.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Variant {
    /// How it chooses the blocks that it reads.
    pub addressing: Addressing,
    /// Whether it is version 1.0 (16), which writes over a block in later passes, and not 1.3 (19).
    pub is_old: bool,
}

/// How argon2 chooses the blocks that it reads (RFC 9106 §3.4).
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Addressing {
    /// By the contents of blocks (argon2d).
    D,
    /// By their places (argon2i).
    I,
    /// By places at first, then by contents (argon2id).
    Id,
}

impl Variant {
    /// argon2id of version 1.3.
    pub const ID: Self = Self { addressing: Addressing::Id, is_old: false };

    const fn reference(self) -> (Algorithm, Version) {
        let algorithm = match self.addressing {
            Addressing::D => Algorithm::Argon2d,
            Addressing::I => Algorithm::Argon2i,
            Addressing::Id => Algorithm::Argon2id,
        };
        (algorithm, if self.is_old { Version::V0x10 } else { Version::V0x13 })
    }

    #[cfg(feature = "vector-hash")]
    const fn vector(self) -> (argon2_rust::Algorithm, argon2_rust::Version) {
        use argon2_rust::{Algorithm, Version};
        let algorithm = match self.addressing {
            Addressing::D => Algorithm::Argon2d,
            Addressing::I => Algorithm::Argon2i,
            Addressing::Id => Algorithm::Argon2id,
        };
        (algorithm, if self.is_old { Version::V0x10 } else { Version::V0x13 })
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.addressing {
            Addressing::D => "argon2d",
            Addressing::I => "argon2i",
            Addressing::Id => "argon2id",
        };
        write!(f, "{name} v={}", if self.is_old { 16 } else { 19 })
    }
}

/// An implementation, with the memory of one thread.
pub struct Implementation {
    kind: Kind,
    peppers: Arc<Peppers>,
}

enum Kind {
    Reference(Vec<Block>),
    #[cfg(feature = "vector-hash")]
    Vector(Box<argon2_rust::Hasher>),
}

/// The implementation with vector instructions has failed its self-test.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the vector implementation of argon2id differs from the reference; the reference is used")]
pub struct SelfTestFailed;

impl Implementation {
    fn of(kind: Kind) -> Self {
        Self { kind, peppers: Arc::default() }
    }

    /// Sets the peppers of hashes.
    #[must_use]
    pub fn with_peppers(self, peppers: &Arc<Peppers>) -> Self {
        Self { peppers: Arc::clone(peppers), ..self }
    }

    /// Returns the peppers of hashes.
    pub(super) fn peppers(&self) -> Arc<Peppers> {
        Arc::clone(&self.peppers)
    }

    /// Returns the reference.
    pub fn reference() -> Self {
        Self::of(Kind::Reference(Vec::new()))
    }

    /// Returns the implementation with vector instructions, or `None` if it is not compiled in.
    #[cfg_attr(
        feature = "vector-hash",
        expect(clippy::unnecessary_wraps, reason = "`None` without the feature")
    )]
    pub fn vector() -> Option<Self> {
        #[cfg(feature = "vector-hash")]
        {
            let params = argon2_rust::Params::DEFAULT;
            let argon2 = argon2_rust::Argon2::new(
                argon2_rust::Algorithm::Argon2id,
                argon2_rust::Version::V0x13,
                params,
            );
            Some(Self::of(Kind::Vector(Box::new(argon2.hasher()))))
        }
        #[cfg(not(feature = "vector-hash"))]
        None
    }

    /// Returns the implementation that `choice` selects on this machine, and the failure of the self-test if that made
    /// it the reference.
    pub fn choose(choice: Choice) -> (Self, Option<SelfTestFailed>) {
        match (choice, Self::vector()) {
            (Choice::Auto, Some(mut vector)) => match vector.self_test() {
                Ok(()) => (vector, None),
                Err(failed) => (Self::reference(), Some(failed)),
            },
            _ => (Self::reference(), None),
        }
    }

    /// Returns another instance of the same kind with the same peppers, without memory.
    #[must_use]
    pub fn sibling(&self) -> Self {
        let sibling = match self.kind {
            Kind::Reference(_) => Self::reference(),
            #[cfg(feature = "vector-hash")]
            Kind::Vector(_) => Self::vector().unwrap_or_else(Self::reference),
        };
        sibling.with_peppers(&self.peppers)
    }

    /// Returns the name of the implementation and of the vector instructions it uses, for people.
    pub fn name(&self) -> String {
        match self.kind {
            Kind::Reference(_) => String::from("argon2"),
            #[cfg(feature = "vector-hash")]
            Kind::Vector(_) => format!("argon2-rust, {:?}", argon2_rust::detected_backend()).to_lowercase(),
        }
    }

    /// Fills `out` with the hash of `password` under `salt` at `cost`.
    pub fn fill(&mut self, cost: Cost, password: &[u8], salt: &[u8], out: &mut [u8]) -> Result<(), PhcError> {
        self.fill_with(cost, password, salt, &[], out)
    }

    /// Fills `out` like [`Implementation::fill`], with the secret of a pepper; an empty one is none.
    pub(super) fn fill_with(
        &mut self,
        cost: Cost,
        password: &[u8],
        salt: &[u8],
        secret: &[u8],
        out: &mut [u8],
    ) -> Result<(), PhcError> {
        self.fill_variant(Variant::ID, cost, [password, salt, secret], out)
    }

    /// Fills `out` like [`Implementation::fill_with`], by another variant of argon2.
    pub(super) fn fill_variant(
        &mut self,
        variant: Variant,
        cost: Cost,
        [password, salt, secret]: [&[u8]; 3],
        out: &mut [u8],
    ) -> Result<(), PhcError> {
        if !cost.is_bounded() {
            return Err(PhcError);
        }
        match &mut self.kind {
            Kind::Reference(memory) => {
                let Cost { memory_kib, passes, lanes } = cost;
                let params = Params::new(memory_kib, passes, lanes, Some(out.len()));
                let params = params.map_err(|_| PhcError)?;
                let blocks = params.block_count();
                if memory.len() < blocks {
                    memory.resize(blocks, Block::default());
                }
                let memory = memory.get_mut(..blocks).unwrap_or_default();
                let (algorithm, version) = variant.reference();
                Argon2::new_with_secret(secret, algorithm, version, params)
                    .map_err(|_| PhcError)?
                    .hash_password_into_with_memory(password, salt, out, memory)
                    .map_err(|_| PhcError)
            }
            #[cfg(feature = "vector-hash")]
            Kind::Vector(hasher) => {
                vector_fill(hasher, variant, cost, [password, salt, secret, &[]], out).map_err(|_| PhcError)
            }
        }
    }

    /// Releases the memory. The next hash allocates it again.
    pub fn release(&mut self) {
        match &mut self.kind {
            Kind::Reference(memory) => *memory = Vec::new(),
            #[cfg(feature = "vector-hash")]
            Kind::Vector(hasher) => hasher.clear(),
        }
    }

    /// Checks that the implementation gives the test vector of RFC 9106 §5.3, and the bytes of the reference for inputs
    /// of several lengths and costs.
    fn self_test(&mut self) -> Result<(), SelfTestFailed> {
        #[cfg(feature = "vector-hash")]
        if let Kind::Vector(hasher) = &mut self.kind {
            let cost = Cost { memory_kib: 32, passes: 3, lanes: 4 };
            let mut out = [0; 32];
            vector_fill(hasher, Variant::ID, cost, [&[1; 32], &[2; 16], &[3; 8], &[4; 12]], &mut out)
                .map_err(|_| SelfTestFailed)?;
            if out != RFC_9106_ARGON2ID {
                return Err(SelfTestFailed);
            }
        }
        let mut reference = Self::reference();
        for (number, memory_kib) in [(1_u8, 8), (2, 64), (3, 257), (4, 1024)] {
            let cost = Cost { memory_kib, passes: 1 + u32::from(number) % 3, lanes: 1 };
            let mut expected = [0; 32];
            let mut actual = [0; 32];
            let password = vec![number; usize::from(number) * 21];
            // The first without a secret.
            let secret = vec![number; usize::from(number - 1) * 16];
            let addressing = [Addressing::Id, Addressing::I, Addressing::D];
            let old = [false, true];
            let variants = old.map(|is_old| addressing.map(|addressing| Variant { addressing, is_old }));
            // The other variants with the smaller costs alone, so that a start takes no longer.
            for variant in variants.into_iter().flatten().filter(|v| *v == Variant::ID || memory_kib <= 64) {
                let input = [&password[..], &[number; 16], &secret];
                let filled = [
                    reference.fill_variant(variant, cost, input, &mut expected),
                    self.fill_variant(variant, cost, input, &mut actual),
                ];
                if filled.iter().any(Result::is_err) || expected != actual {
                    return Err(SelfTestFailed);
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Implementation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Implementation({})", self.name())
    }
}

/// The argon2id tag of RFC 9106 §5.3.
#[cfg(any(test, feature = "vector-hash"))]
const RFC_9106_ARGON2ID: [u8; 32] = [
    0x0d, 0x64, 0x0d, 0xf5, 0x8d, 0x78, 0x76, 0x6c, 0x08, 0xc0, 0x37, 0xa3, 0x4a, 0x8b, 0x53, 0xc9, 0xd0,
    0x1e, 0xf0, 0x45, 0x2d, 0x75, 0xb6, 0x5e, 0xb5, 0x25, 0x20, 0xe9, 0x6b, 0x01, 0xe6, 0x59,
];

/// Fills `out` with the hash of password, salt, secret and associated data.
#[cfg(feature = "vector-hash")]
fn vector_fill(
    hasher: &mut argon2_rust::Hasher,
    variant: Variant,
    cost: Cost,
    [password, salt, secret, data]: [&[u8]; 4],
    out: &mut [u8],
) -> Result<(), argon2_rust::Error> {
    use argon2_rust::params::{Memory, TagLen};
    let params = argon2_rust::Params::builder()
        .memory(Memory::kib(u64::from(cost.memory_kib)))
        .passes(cost.passes)
        .lanes(cost.lanes)
        // The pool has its own threads: one lane more must not start one thread more.
        .threads(1)
        .tag_len(TagLen::bytes(out.len() as u64))
        .build()?;
    let (algorithm, version) = variant.vector();
    hasher.set_argon2(argon2_rust::Argon2::new(algorithm, version, params));
    hasher.hash_into_with_ad(password, salt, secret, data, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_gives_the_vector_of_the_rfc() {
        let params = argon2::ParamsBuilder::new()
            .m_cost(32)
            .t_cost(3)
            .p_cost(4)
            .data(argon2::AssociatedData::new(&[4; 12]).unwrap())
            .output_len(32)
            .build()
            .unwrap();
        let argon2 = Argon2::new_with_secret(&[3; 8], Algorithm::Argon2id, Version::V0x13, params).unwrap();
        let mut out = [0; 32];
        argon2.hash_password_into(&[1; 32], &[2; 16], &mut out).unwrap();
        assert_eq!(out, RFC_9106_ARGON2ID);
    }

    #[cfg(feature = "vector-hash")]
    mod vector {
        use rand::rngs::ChaCha8Rng;
        use rand::{RngExt, SeedableRng};

        use super::*;

        fn differences(inputs: u64) -> usize {
            let mut random = ChaCha8Rng::seed_from_u64(9106);
            let (mut reference, mut vector) =
                (Implementation::reference(), Implementation::vector().unwrap());
            let mut differ = 0;
            for _ in 0..inputs {
                let lanes = if random.random_bool(0.8) { 1 } else { random.random_range(2..=4) };
                let most = if random.random_bool(0.9) { 160 } else { 900 };
                let memory_kib = random.random_range(8 * lanes..=most);
                let cost = Cost { memory_kib, passes: random.random_range(1..=3), lanes };
                let password: Vec<u8> = (0..random.random_range(0..200)).map(|_| random.random()).collect();
                let salt: Vec<u8> = (0..random.random_range(8..48)).map(|_| random.random()).collect();
                let len = random.random_range(16..=64);
                let (mut one, mut other) = (vec![0; len], vec![0; len]);
                let addressing = [Addressing::Id, Addressing::I, Addressing::D][random.random_range(0..3)];
                let variant = if random.random_bool(0.7) {
                    Variant::ID
                } else {
                    Variant { addressing, is_old: random.random() }
                };
                let input = [&password[..], &salt, &[]];
                reference.fill_variant(variant, cost, input, &mut one).unwrap();
                vector.fill_variant(variant, cost, input, &mut other).unwrap();
                differ += usize::from(one != other);
                if random.random_bool(0.01) {
                    vector.release();
                }
            }
            differ
        }

        #[test]
        fn both_implementations_give_the_same_bytes() {
            assert_eq!(differences(10_000), 0);
        }

        #[test]
        #[ignore = "ten minutes: cargo test --release -- --ignored the_same_bytes_for_very_many"]
        fn the_same_bytes_for_very_many_inputs() {
            assert_eq!(differences(1_000_000), 0);
        }

        #[test]
        fn the_default_passes_its_self_test() {
            let (implementation, failed) = Implementation::choose(Choice::Auto);
            assert_eq!(failed, None);
            assert!(implementation.name().starts_with("argon2-rust"));
            assert!(implementation.sibling().name().starts_with("argon2-rust"));
            assert_eq!(Implementation::choose(Choice::Reference).0.name(), "argon2");
        }
    }
}
