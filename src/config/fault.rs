//! Errors of a configuration.

use std::fmt;

/// A mistake in the configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigFault {
    /// Where it is: the file and line, the environment variable, or the flag.
    pub place: String,
    /// The mistake, and the key that was probably meant.
    pub what: String,
}

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

impl std::error::Error for ConfigFault {}

/// Every mistake of a configuration, as one error. Its text has one a line.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ConfigFaults(Vec<ConfigFault>);

impl fmt::Display for ConfigFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for ConfigFaults {}

impl std::ops::Deref for ConfigFaults {
    type Target = [ConfigFault];

    fn deref(&self) -> &[ConfigFault] {
        &self.0
    }
}

impl From<Vec<ConfigFault>> for ConfigFaults {
    fn from(faults: Vec<ConfigFault>) -> Self {
        Self(faults)
    }
}

impl IntoIterator for ConfigFaults {
    type Item = ConfigFault;
    type IntoIter = std::vec::IntoIter<ConfigFault>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a ConfigFaults {
    type Item = &'a ConfigFault;
    type IntoIter = std::slice::Iter<'a, ConfigFault>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
