//! Granting what plugins ask of the session: replies, TLS, an end of the transaction or of all.
//!
//! Called while a hook runs, and between commands for what scripts ask out of timers. Must never read
//! from the client.

use haraka_shared::asks::Ask;

use crate::smtp::session::Session;

impl Session {
    /// Grants all that waits.
    pub(super) async fn grant_all(&mut self) {
        while let Some(ask) = self.conn.asks.take() {
            Box::pin(self.grant(ask)).await;
        }
    }

    pub(super) async fn grant(&mut self, ask: Ask) {
        match ask {
            Ask::Close => {
                // What was said before is still heard.
                drop(self.wire.flush().await);
                self.wire.dismiss();
                self.conn.remote.borrow_mut().closed = true;
            }
            Ask::Reset(answer) => {
                self.reset_transaction().await;
                answer.give(());
            }
            Ask::Say(reply) => {
                self.say(&reply);
                if self.wire.flush().await.is_err() {
                    self.conn.remote.borrow_mut().closed = true;
                }
            }
            Ask::StartTls(ask) => self.start_tls(ask).await,
        }
    }
}
