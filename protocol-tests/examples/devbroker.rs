//! The dev broker alone, until Ctrl-C: `devbroker [ADDRESS,... [DATA_DIR [never|always|MILLISECONDS]]]`, one virtual
//! broker an address, with ids from 1.

use std::time::Duration;

use highwater::devbroker::{BrokerConfig, Config, DevBroker, Fsync};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut config = Config::default();
    if let Some(addresses) = arguments.next() {
        let broker = |(id, address): (i32, &str)| address.parse().map(|address| BrokerConfig::new(id, address));
        config.brokers = (1..).zip(addresses.split(',')).map(broker).collect::<Result<_, _>>()?;
    }
    config.data_dir = arguments.next().map(Into::into);
    match arguments.next().as_deref() {
        None => {}
        Some("never") => config.fsync = Fsync::Never,
        Some("always") => config.fsync = Fsync::Always,
        Some(ms) => config.fsync = Fsync::Interval(Duration::from_millis(ms.parse()?)),
    }
    let broker = DevBroker::start(config).await?;
    println!("{}", broker.bootstrap_servers());
    tokio::signal::ctrl_c().await?;
    Ok(broker.stop().await?)
}
