//! The socket as its peers find it.

use std::sync::Mutex;

use futures_util::future::BoxFuture;
use tokio::task::spawn_blocking;
use waybill_registry::node::{ClientError, ask};
use waybill_schemas::v1::{AskedWith, Question};

use super::*;
use crate::node::{
    Attached, Attachment, Attachments, NodeDir, Placed, Running,
    answer::tests::{attachment, placed},
};

/// Keeps what it is told of.
#[derive(Clone, Default)]
struct Told {
    attachments: Attachments,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Attached for Told {
    fn attached<'a>(&'a self, placed: &'a Placed) -> BoxFuture<'a, Result<Attachment, Error>> {
        self.attachments.attached(placed)
    }

    fn ended<'a>(&'a self, placed: &'a Placed) -> BoxFuture<'a, Result<(), Error>> {
        self.attachments.ended(placed)
    }

    fn asked(&self, asked: Asked) {
        self.asked.lock().unwrap().push(asked);
    }
}

struct Served {
    scratch: tempfile::TempDir,
    told: Told,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Served {
    fn start() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let running = Running::open(NodeDir::open(scratch.path(), None).unwrap()).unwrap();
        let told = Told::default();
        told.attachments.put(placed("ws", "c1", 1), attachment("a.b/app:1", "u", 1));
        running.admit(&placed("ws", "c1", 1)).unwrap();
        let server = Server::bind(Answerer::new(running, Arc::new(told.clone()))).unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(server.serve(stop.clone()));
        Self { scratch, told, stop, task }
    }

    fn socket(&self) -> PathBuf {
        self.scratch.path().join("waybill.sock")
    }

    async fn say(&self, line: &[u8]) -> String {
        let mut stream = UnixStream::connect(self.socket()).await.unwrap();
        // The server may answer, and hang up, before it has read all of it.
        let _ = stream.write_all(line).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }
}

#[tokio::test]
async fn one_line_gets_one_line() {
    let served = Served::start();
    let key = std::fs::read_to_string(served.scratch.path().join("ws/c1/access")).unwrap();
    let get = format!("{{\"op\":\"get\",\"access\":\"{key}\",\"registry\":\"a.b\"}}\n");
    let login = "{\"username\":\"u\",\"password\":\"pw-u\",\"registry\":\"a.b\"}\n";
    assert_eq!(served.say(get.as_bytes()).await, login);
    assert_eq!(served.say(format!("{get}{get}").as_bytes()).await, login, "the second line is not read");

    let request = Request::Get { access: key.into(), registry: Some("c.d".to_owned()), image: None };
    let socket = served.socket();
    let refused = spawn_blocking(move || ask(&socket, &request)).await.unwrap().unwrap_err();
    assert!(matches!(refused, ClientError::Refused(error) if error.code == Code::NotFound));

    for line in ["\n", "{}\n", "canary-question\n", "[1,2\n"] {
        let answer = served.say(line.as_bytes()).await;
        assert!(answer.starts_with("{\"error\":{\"code\":\"bad_request\"") && !answer.contains("canary"), "{answer}");
    }
    served.stop.cancel();
    served.task.await.unwrap();
    assert!(!served.scratch.path().join("waybill.sock").exists());
}

#[tokio::test]
async fn each_question_is_told_of_when_it_is_answered() {
    let served = Served::start();
    let key = std::fs::read_to_string(served.scratch.path().join("ws/c1/access")).unwrap();
    let lines = [
        format!("{{\"op\":\"get\",\"access\":\"{key}\"}}\n"),
        format!("{{\"op\":\"get\",\"access\":\"{key}\",\"image\":\"c.d/e\"}}\n"),
        "{\"op\":\"list\",\"access\":\"nobody's\"}\n".to_owned(),
        "{\"op\":\"pod\",\"token\":\"canary-token\",\"image\":\"c.d/e\"}\n".to_owned(),
        "canary\n".to_owned(),
        // What is recorded as an end is told of by that.
        format!("{{\"op\":\"end\",\"access\":\"{key}\"}}\n"),
        format!("{{\"op\":\"end\",\"access\":\"{key}\"}}\n"),
    ];
    for (number, line) in lines.iter().enumerate() {
        served.say(line.as_bytes()).await;
        let expected = if number < 6 { (number + 1).min(5) } else { 6 };
        while served.told.asked.lock().unwrap().len() < expected {
            tokio::task::yield_now().await;
        }
    }
    let told = served.told.asked.lock().unwrap();
    let facts: Vec<_> = told
        .iter()
        .map(|Asked { placed, asked, .. }| {
            assert_eq!(asked.pid, Some(std::process::id()));
            assert!(!format!("{asked:?}").contains("canary"), "{asked:?}");
            let registry = asked.registry.as_deref();
            (asked.question, asked.asked_with, placed.is_some(), registry, asked.reason)
        })
        .collect();
    let expected = [
        (Question::Login, AskedWith::ContainerKey, true, Some("a.b"), None),
        (Question::Login, AskedWith::ContainerKey, true, Some("c.d"), Some(Code::NotFound)),
        (Question::List, AskedWith::Nothing, false, None, Some(Code::NoAccess)),
        (Question::Login, AskedWith::Nothing, false, Some("c.d"), Some(Code::TokenRefused)),
        (Question::Login, AskedWith::Nothing, false, None, Some(Code::BadRequest)),
        (Question::End, AskedWith::Nothing, false, None, Some(Code::NoAccess)),
    ];
    assert_eq!(facts, expected);
}

#[tokio::test]
async fn a_line_has_a_limit() {
    let served = Served::start();
    let at_limit = [vec![b'x'; MAX_BYTES - 1], b"\n".to_vec()].concat();
    assert!(served.say(&at_limit).await.contains("`op`"));
    assert!(served.say(&vec![b'x'; MAX_BYTES + 1]).await.contains("64 KiB"));
}
