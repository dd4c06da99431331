//! Enums whose values are strings in JSON and, where rows hold them, one byte.

/// Declares such an enum: `Value = 1 "value"` where rows hold it, `Value = "value"` where none does.
/// Codes are frozen: new values are added, none is renumbered or reused.
#[macro_export]
macro_rules! string_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $code:literal $string:literal,)+ }) => {
        $crate::string_enum!(@enum $(#[$doc])* $name { $($(#[$value_doc])* $value = $string,)+ });

        impl $name {
            pub const fn code(self) -> u8 {
                match self {
                    $(Self::$value => $code,)+
                }
            }

            pub const fn from_code(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$value),)+
                    _ => None,
                }
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
                if deserializer.is_human_readable() {
                    return Self::deserialize_str(deserializer);
                }
                let code = <u8 as serde::Deserialize>::deserialize(deserializer)?;
                Self::from_code(code).ok_or_else(|| {
                    serde::de::Error::custom(format!("{code} is no code of {}", stringify!($name)))
                })
            }
        }
    };

    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $string:literal,)+ }) => {
        $crate::string_enum!(@enum $(#[$doc])* $name { $($(#[$value_doc])* $value = $string,)+ });

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::deserialize_str(deserializer)
            }
        }
    };

    (@enum $(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $string:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$value_doc])* $value,)+
        }

        impl $name {
            /// In the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$value),+];

            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $string,)+
                }
            }

            pub fn parse(text: &str) -> Option<Self> {
                match text {
                    $($string => Some(Self::$value),)+
                    _ => None,
                }
            }

            fn deserialize_str<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
                Self::parse(&text).ok_or_else(|| {
                    serde::de::Error::custom(format!("`{text}` is no {}", stringify!($name)))
                })
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}
