//! The lanes of the queue and their weights.

/// Declares [`Lane`], its list, its names and its weights from one table.
macro_rules! lanes {
    ($($(#[$doc:meta])* $lane:ident = $name:literal, weight $weight:literal;)+) => {
        /// A class in the queue, in descending order of weight.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum Lane {
            $($(#[$doc])* $lane,)+
        }

        impl Lane {
            /// All lanes, in the order of their weights.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$lane),+];

            /// Returns how many passwords of this lane run while all lanes are busy, relative to the others.
            pub(super) const fn weight(self) -> u32 {
                match self {
                    $(Self::$lane => $weight,)+
                }
            }

            /// Returns the name of the lane in metrics.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$lane => $name,)+
                }
            }
        }
    };
}

lanes! {
    /// Clients that have logged in to this name before, or that hold a mailed token or a session.
    Known = "known", weight 8;
    /// Clients from a network without recent failures.
    Quiet = "quiet", weight 4;
    /// Clients from a network with recent failures.
    Failing = "failing", weight 1;
}
