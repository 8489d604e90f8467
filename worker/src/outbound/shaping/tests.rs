//! Permits, rooms and pools together.
