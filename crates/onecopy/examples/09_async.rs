//! On tokio: messages are awaited, and no thread is blocked. Needs the feature `tokio`.
//!
//! Run it with `cargo run -p onecopy --features tokio --example 09_async`.

use onecopy::Node;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run())
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let node = Node::builder().directory(directory.path()).open()?;
    let questions = node.topic::<u64>("questions")?;
    let answers = node.topic::<u64>("answers")?;

    let mut asker = questions.publisher().open()?;
    let mut asked = questions.subscriber().open()?.into_async()?;
    let mut answerer = answers.publisher().open()?;
    let mut answered = answers.subscriber().open()?.into_async()?;

    let answering = async {
        for _ in 0..100 {
            let question = *asked.recv().await?;
            answerer.publish(&(question * question))?;
        }
        Ok::<(), onecopy::Error>(())
    };
    let asking = async {
        let mut sum = 0;
        for question in 0..100 {
            asker.publish(&question)?;
            let answer = *answered.recv().await?;
            assert_eq!(answer, question * question);
            sum += answer;
        }
        Ok::<u64, onecopy::Error>(sum)
    };
    let (sum, ()) = tokio::try_join!(asking, answering)?;
    println!("the sum of a hundred squares is {sum}");
    assert_eq!(sum, 328_350);
    Ok(())
}
