//! One TOML file per channel id, layered and parsed into types that cannot be wrong.
