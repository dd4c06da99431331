//! Closed vocabularies: an enum whose values are a word in JSON and one byte in rows.

/// Declares such an enum. Codes are frozen: new values are added, none is renumbered or reused.
#[macro_export]
macro_rules! string_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $code:literal $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$value_doc])* $value,)+
        }

        impl $name {
            /// Every value, in the order of their codes.
            pub const ALL: &'static [Self] = &[$(Self::$value),+];

            /// The word that callers read and write.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $word,)+
                }
            }

            /// The byte that rows hold.
            pub const fn code(self) -> u8 {
                match self {
                    $(Self::$value => $code,)+
                }
            }

            /// The value with this word.
            pub fn parse(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$value),)+
                    _ => None,
                }
            }

            /// The value with this byte.
            pub const fn from_code(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$value),)+
                    _ => None,
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.serialize_str(self.as_str())
                } else {
                    serializer.serialize_u8(self.code())
                }
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let (value, told) = if deserializer.is_human_readable() {
                    let word = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
                    (Self::parse(&word), word.into_owned())
                } else {
                    let code = <u8 as serde::Deserialize>::deserialize(deserializer)?;
                    (Self::from_code(code), code.to_string())
                };
                value.ok_or_else(|| {
                    serde::de::Error::custom(format!("`{told}` is no {}", stringify!($name)))
                })
            }
        }
    };
}
