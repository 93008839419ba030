//! The layers of a lane, one file each; [`lane`](super::lane) says in which order they stand.

pub mod observe;
pub mod reconnect;
pub mod throttle;
