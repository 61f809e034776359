/// Declares an enum with user-visible names: serde and `Display` use the name, `FromStr` parses it ignoring case, and `ALL` lists
/// the variants for command lines and menus.
macro_rules! named_enum {
    (
        $(#[$meta:meta])*
        pub enum $Enum:ident: $what:literal {
            $($(#[$variant_meta:meta])* $Variant:ident = $name:literal,)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $Enum {
            $($(#[$variant_meta])* #[serde(rename = $name)] $Variant,)+
        }

        #[doc(hidden)]
        impl $Enum {
            /// Every variant, in display order.
            pub const ALL: &[Self] = &[$(Self::$Variant,)+];

            /// The name in the user interface and in files.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$Variant => $name,)+
                }
            }
        }

        impl std::fmt::Display for $Enum {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }

        impl std::str::FromStr for $Enum {
            type Err = $crate::error::Error;

            fn from_str(text: &str) -> $crate::error::Result<Self> {
                Self::ALL.iter().copied().find(|value| value.name().eq_ignore_ascii_case(text)).ok_or_else(|| {
                    let names = Self::ALL.iter().map(|value| value.name()).collect::<Vec<_>>().join(", ");
                    $crate::error::Error::Config(format!("{}: got \"{text}\", expected one of {names}", $what))
                })
            }
        }
    };
}
pub(super) use named_enum;
