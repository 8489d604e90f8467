//! What plugins ask of a message's body, and doing it when the message is there (TXN-10 to TXN-17).
//!
//! Nothing is taken apart, decoded or copied for a message that no plugin asked about. Edits make
//! another body; the one that came stays as it is in the parts that were handed out.

use std::cell::{Cell, RefCell};

use super::Transaction;
use crate::body::{Body, Splice};
use crate::log::Level;
use crate::log_at;
use crate::message_stream::{blocking, read_chunk};
use crate::mime::{
    Banner, BodyFilter, MimeError, MimeLimits, MimeTree, Oddity, PartReader, concerns, edit_part,
};
use crate::services::Services;

/// Called for each attachment, in order, before the `data_post` hooks.
pub type AttachmentHook = Box<dyn Fn(Attachment)>;

/// An attachment as a hook gets it (TXN-13).
pub struct Attachment {
    /// Content-Type with its parameters.
    pub content_type: String,
    /// The name that the sender gave; empty if there is none. Not safe to open.
    pub filename: String,
    /// The message's parts.
    pub tree: MimeTree,
    /// Which of them it is.
    pub part: usize,
    /// Its octets, read at the hook's own pace, now or later.
    pub stream: PartReader,
}

/// What plugins want of one message's body.
#[derive(Default)]
pub struct Wishes {
    /// The parts shall be there at `data_post`.
    pub parse_body: Cell<bool>,
    /// Nothing of the body shall be kept once the hooks for attachments had it (TXN-12).
    pub discard_data: Cell<bool>,
    attachment_hooks: RefCell<Vec<AttachmentHook>>,
    banner: RefCell<Option<Banner>>,
    filters: RefCell<Vec<BodyFilter>>,
    mime: RefCell<Option<MimeTree>>,
    /// What was odd about the parts is in the log.
    told: Cell<bool>,
}

impl Wishes {
    /// Whether the body is needed for anything but sending it on.
    pub fn read_body(&self) -> bool {
        self.parse_body.get() || self.edits() || !self.attachment_hooks.borrow().is_empty()
    }

    fn edits(&self) -> bool {
        self.banner.borrow().is_some() || !self.filters.borrow().is_empty()
    }
}

impl Transaction {
    /// Asks for a call for each attachment (`attachment_hooks`), before the message is there.
    pub fn on_attachment(&self, hook: impl Fn(Attachment) + 'static) {
        self.wishes.parse_body.set(true);
        let mut hooks = self.wishes.attachment_hooks.borrow_mut();
        hooks.push(Box::new(hook));
    }

    /// Adds this to every text of the message (`set_banner`); a later call replaces an earlier one.
    /// Without HTML, HTML parts get the text with `<br/>` at its line ends.
    pub fn set_banner(&self, text: &str, html: Option<&str>) {
        self.wishes.parse_body.set(true);
        *self.wishes.banner.borrow_mut() = Some(Banner::new(text, html));
    }

    /// Lets a function change text parts (`add_body_filter`).
    pub fn add_body_filter(&self, filter: BodyFilter) {
        self.wishes.parse_body.set(true);
        self.wishes.filters.borrow_mut().push(filter);
    }

    /// The parts, if the message was taken apart already (`transaction.body`).
    #[must_use]
    pub fn mime(&self) -> Option<MimeTree> {
        self.wishes.mime.borrow().clone()
    }

    /// The parts of the message, which must be complete; taken apart at the first call.
    ///
    /// # Errors
    /// More parts than allowed, or the body cannot be read.
    pub async fn parse_mime(
        &self,
        services: &dyn Services,
        limits: MimeLimits,
    ) -> Result<MimeTree, MimeError> {
        if let Some(known) = self.mime() {
            return Ok(known);
        }
        let header = self.header.borrow().clone();
        let body = self.body.borrow().clone();
        let tree = if body.on_disk() || body.len() > INLINE {
            blocking(services, move || MimeTree::parse(&header, &body, limits)).await??
        } else {
            MimeTree::parse(&header, &body, limits)?
        };
        if !self.wishes.told.replace(true) {
            for oddity in Oddity::all(&tree, limits.max_depth) {
                log_at!(oddity.level(), &self.uuid, "core", [], "{oddity}");
            }
        }
        *self.wishes.mime.borrow_mut() = Some(tree.clone());
        Ok(tree)
    }

    /// Does what plugins asked for, once the message is complete: attachments are announced, banner and
    /// filters applied, the parts kept for `data_post`, a body that is to be discarded dropped. Each
    /// edit is applied once, so that a second call does only what was asked for since.
    ///
    /// # Errors
    /// More parts than allowed, or the body cannot be read; then nothing was edited.
    pub async fn prepare_body(
        &self,
        services: &dyn Services,
        limits: MimeLimits,
    ) -> Result<(), MimeError> {
        if self.wishes.read_body() {
            let tree = self.parse_mime(services, limits).await?;
            self.announce(&tree);
            if self.wishes.edits() && !self.wishes.discard_data.get() {
                self.apply_edits(&tree, services, limits).await?;
                self.parse_mime(services, limits).await?;
            }
        }
        if self.wishes.discard_data.get() {
            *self.body.borrow_mut() = Body::default();
        }
        Ok(())
    }

    fn announce(&self, tree: &MimeTree) {
        // taken out, so that a hook may ask for more without finding the list in use
        let hooks = self.wishes.attachment_hooks.take();
        for index in tree.attachments() {
            for hook in &hooks {
                let (Some(part), Some(stream)) = (tree.part(index), tree.reader(index)) else {
                    continue;
                };
                hook(Attachment {
                    content_type: part.content_type().to_owned(),
                    filename: part.filename(),
                    tree: tree.clone(),
                    part: index,
                    stream,
                });
            }
        }
    }

    async fn apply_edits(
        &self,
        tree: &MimeTree,
        services: &dyn Services,
        limits: MimeLimits,
    ) -> Result<(), MimeError> {
        let banner = self.wishes.banner.take();
        let filters = self.wishes.filters.take();
        let mut splices = Vec::new();
        let mut left_out = 0;
        for (index, part) in tree.parts().iter().enumerate() {
            let range = part.content();
            if !concerns(part, banner.as_ref(), &filters) {
                continue;
            }
            if range.end - range.start > limits.max_buffered as u64 {
                left_out += 1;
                continue;
            }
            let Some(mut reader) = tree.text_reader(index) else {
                continue;
            };
            let stored = self.octets(services, range.start, range.end).await?;
            let plain = reader.collect(services, usize::MAX).await?;
            splices.extend(edit_part(part, &stored, &plain, banner.as_ref(), &filters));
        }
        if left_out > 0 {
            log_at!(
                Level::Warn,
                &self.uuid,
                "core",
                [],
                "{left_out} text(s) over mailparser.attachment_max_buffered ({}) left as they came",
                limits.max_buffered
            );
        }
        if !splices.is_empty() {
            self.splice_body(splices);
        }
        Ok(())
    }

    async fn octets(
        &self,
        services: &dyn Services,
        mut at: u64,
        end: u64,
    ) -> std::io::Result<Vec<u8>> {
        let body = self.body.borrow().clone();
        let mut read = move || {
            let mut all = Vec::new();
            while at < end {
                let piece = read_chunk(&body, at, end)?;
                at += piece.len() as u64;
                all.extend(piece);
            }
            Ok(all)
        };
        if self.body.borrow().on_disk() {
            blocking(services, read).await?
        } else {
            read()
        }
    }

    /// Replaces octets of the stored body. Parts that were handed out before keep showing the body as
    /// it was.
    pub fn splice_body(&self, splices: Vec<Splice>) {
        let edited = self.body.borrow().spliced(splices);
        *self.body.borrow_mut() = edited;
        self.wishes.mime.take();
    }
}

/// Octets of a body in memory that are taken apart at once; more go to another thread. Some tens of
/// microseconds.
const INLINE: u64 = 256 * 1024;

#[cfg(test)]
mod tests;
