//! Services on tokio: any number of tasks call side by side, and no thread is blocked. Needs the feature `tokio`.
//!
//! Run it with `cargo run -p onecopy --features tokio --example 14_async_service`.

use std::time::Duration;

use onecopy::Node;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run())
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let node = Node::builder().directory(directory.path()).open()?;
    let service = node.service::<u64, u64>("square")?;

    let server = service.server().open()?.into_async()?;
    tokio::spawn(async move {
        while let Ok(request) = server.recv().await {
            // Each request may have a task of its own, and they end in whatever order. Several answers would each be sent
            // with `send().await`, which waits for a client that reads slowly.
            tokio::spawn(async move {
                if let Err(error) = request.respond(&(*request * *request)).await {
                    eprintln!("one client was not answered: {error}");
                }
            });
        }
    });

    let client = service.client().open()?.into_async()?;
    client.wait_for_server().await?;
    let calling: Vec<_> = (0..100)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move {
                let mut pending = client.call(&number)?;
                Ok::<u64, onecopy::service::CallError>(*pending.recv().await?)
            })
        })
        .collect();
    let mut sum = 0;
    for call in calling {
        sum += call.await??;
    }
    println!("the sum of a hundred squares is {sum}");
    assert_eq!(sum, 328_350);

    // A wait that is given up loses nothing: the answer is there for the next.
    let mut pending = client.call(&9)?;
    while let Err(_elapsed) = tokio::time::timeout(Duration::from_nanos(1), pending.recv()).await {}
    Ok(())
}
