//! The socket as its peers find it.

use tokio::task::spawn_blocking;
use waybill_registry::node::{ClientError, ask};

use super::*;
use crate::node::{
    Attachments, NodeDir, Running,
    answer::tests::{attachment, placed},
};

struct Served {
    scratch: tempfile::TempDir,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Served {
    fn start() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let running = Running::open(NodeDir::open(scratch.path(), None).unwrap()).unwrap();
        let attachments = Attachments::default();
        attachments.put(placed("ws", "c1", 1), attachment("a.b/app:1", "u", 1));
        running.admit(&placed("ws", "c1", 1)).unwrap();
        let server = Server::bind(Answerer::new(running, Arc::new(attachments))).unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(server.serve(stop.clone()));
        Self { scratch, stop, task }
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
async fn a_line_has_a_limit() {
    let served = Served::start();
    let at_limit = [vec![b'x'; MAX_BYTES - 1], b"\n".to_vec()].concat();
    assert!(served.say(&at_limit).await.contains("`op`"));
    assert!(served.say(&vec![b'x'; MAX_BYTES + 1]).await.contains("64 KiB"));
}
