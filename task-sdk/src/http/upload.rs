//! A request whose body is written while it is under way. What is sent where is in `request`.

use std::io::Read;

use super::Response;
use crate::{Error, Result, host};

/// How much is handed over at a time: the host takes more in one piece, but holds it while it waits.
const PIECE: usize = 64 << 10;

/// What the host answers when the body is no longer wanted: the server has refused the request.
const ENDED: &str = "http.ended";

/// A request whose body is being written. Dropping it gives the request up.
#[derive(Debug)]
#[must_use = "dropping an upload gives its request up"]
pub struct Upload(pub(super) host::http::Exchange);

impl Upload {
    /// Adds bytes to the body, waiting until the host has room for them.
    ///
    /// # Errors
    /// `http.ended` when the body is no longer wanted, because the server has answered already or the
    /// connection is gone: [`response`](Upload::response) says why. `http.invalid` when there are more bytes
    /// than were announced, `limit.http-body` when they are too many; both give the request up.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        for piece in bytes.as_ref().chunks(PIECE) {
            self.0.write_body(piece)?;
        }
        Ok(())
    }

    /// Ends the body and waits for the response's head.
    ///
    /// # Errors
    /// `http.invalid` when fewer bytes were written than announced; else as [`send`](super::Request::send).
    pub fn finish(self) -> Result<Response> {
        self.0.end_body()?;
        self.0.response().map(Response::of)
    }

    /// Waits for the response's head without ending the body: for a server that answers early.
    ///
    /// # Errors
    /// As [`send`](super::Request::send).
    pub fn response(self) -> Result<Response> {
        self.0.response().map(Response::of)
    }

    /// Writes all that the reader gives, and waits for the response's head, which comes early when the
    /// server refuses the request.
    ///
    /// # Errors
    /// As [`write`](Upload::write) and [`finish`](Upload::finish), but `http.ended`; `body.unreadable` when
    /// the reader fails.
    pub fn send_from(mut self, mut reader: impl Read) -> Result<Response> {
        let mut piece = vec![0; PIECE];
        loop {
            let length = match reader.read(&mut piece) {
                Ok(0) => return self.finish(),
                Ok(length) => length,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::permanent("body.unreadable", error)),
            };
            match self.write(piece.get(..length).unwrap_or_default()) {
                Ok(()) => {}
                Err(error) if error.code == ENDED => return self.response(),
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Reply, World};
    use crate::{Result, http};

    #[test]
    fn a_streamed_body_arrives_whole_and_its_end_is_the_senders_word() {
        let world = World::new();
        world
            .when("PUT", "https://b.test/*")
            .reply(Reply::text(201, "stored"));
        let mut upload = http::put("https://b.test/a").stream(Some(9)).unwrap();
        upload.write("one ").unwrap();
        upload.write(vec![b'x'; 5]).unwrap();
        assert_eq!(upload.write("y").unwrap_err().code, "http.invalid");
        assert_eq!(upload.finish().unwrap_err().code, "http.invalid");
        let upload = http::put("https://b.test/a").stream(Some(9)).unwrap();
        assert_eq!(upload.finish().unwrap_err().code, "http.invalid");
        assert!(world.requests().is_empty(), "neither was ever complete");
        let mut upload = http::put("https://b.test/a").stream(None).unwrap();
        upload.write("one ").unwrap();
        upload.write("two").unwrap();
        assert_eq!(upload.finish().unwrap().status(), 201);
        let sent = world.requests().remove(0);
        assert_eq!((sent.text(), sent.streamed), ("one two".to_owned(), true));
    }

    #[test]
    fn a_server_that_refuses_early_is_heard_and_nothing_more_is_read() -> Result<()> {
        let world = World::new();
        world
            .when("PUT", "https://b.test/*")
            .reply(Reply::text(413, "too large").early());
        let endless = std::io::repeat(b'x');
        let refused = http::put("https://b.test/a")
            .stream(None)?
            .send_from(endless)?;
        assert_eq!(
            (refused.status(), refused.text()?),
            (413, "too large".to_owned())
        );
        Ok(())
    }

    #[test]
    fn nothing_is_sent_when_there_is_a_body_already_or_no_grant() {
        let world = World::new();
        let put = || http::put("https://b.test/a");
        assert_eq!(put().stream(None).unwrap_err().code, "http.denied");
        world
            .when("PUT", "https://b.test/*")
            .reply(Reply::text(201, ""));
        assert_eq!(
            put().body("x").stream(None).unwrap_err().code,
            "http.invalid"
        );
        drop(put().stream(None));
        assert_eq!(world.requests().len(), 1, "the denied one");
    }

    #[test]
    fn redirects_are_followed_as_the_host_does() {
        let world = World::new();
        let to = |status, place: &str| Reply::bytes(status, "").header("location", place);
        world
            .when("POST", "https://a.test/form")
            .reply(to(303, "/done"));
        world
            .when("GET", "https://a.test/done")
            .reply(to(302, "https://b.test/x"));
        world
            .when("*", "https://b.test/x")
            .reply(Reply::text(200, "here"));
        world
            .when("*", "https://a.test/loop")
            .reply(to(307, "loop"));
        let post = http::post("https://a.test/form")
            .header("Authorization", "Bearer mine")
            .body("a=1");
        let response = post.send().unwrap();
        assert_eq!(
            (response.url(), response.status()),
            ("https://b.test/x", 200)
        );
        let sent = world.requests();
        let asked: Vec<_> = sent
            .iter()
            .map(|sent| (sent.method.as_str(), sent.text()))
            .collect();
        assert_eq!(asked[1..], [("GET", String::new()), ("GET", String::new())]);
        assert!(
            sent[1].header("authorization").is_some() && sent[2].header("authorization").is_none()
        );
        let endless = http::get("https://a.test/loop").send().unwrap_err();
        assert_eq!(endless.code, "http.redirect");
        let answer = http::get("https://a.test/loop")
            .redirects(0)
            .send()
            .unwrap();
        assert_eq!(
            (answer.status(), answer.header("location")),
            (307, Some("loop"))
        );
        let denied = http::get("https://a.test/away")
            .redirects(3)
            .send()
            .unwrap_err();
        assert_eq!(denied.code, "http.denied");
    }
}
