//! Verbs that end by themselves, or do one thing: each asks rooms, and prints.
//!
//! Answers go to standard output, as a table or as JSON; everything else goes to standard error. A verb about many things
//! does what it can, says what it could not, and ends with the status of the first failure.

mod acls;
mod bench;
mod broker;
mod cluster;
mod completions;
mod consume;
mod delete_records;
mod describe;
mod elect_leaders;
mod format;
mod generate;
mod groups;
mod hint;
mod lag;
mod output;
mod produce;
mod properties;
mod record_json;
mod reset;
mod session;
mod topics;
mod transactions;
mod users;
mod wanted;

pub use acls::acls;
pub use bench::bench;
pub use broker::broker;
pub use cluster::cluster;
pub use completions::{completions, man};
pub use consume::consume;
pub use generate::generate;
pub use groups::groups;
pub use lag::lag;
pub use produce::produce;
pub use topics::topics;
pub use transactions::transactions;
pub use users::users;
