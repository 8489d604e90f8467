//! What scripts hold of the server's objects: opaque values that only ops can look into.

use std::cell::RefCell;
use std::rc::Rc;

use haraka_shared::connection::Connection;
use haraka_shared::delivery::Delivery;
use haraka_shared::header::Header;
use haraka_shared::mime::MimeTree;
use haraka_shared::transaction::Transaction;
use rquickjs::{Class, Ctx, Exception, FromJs, IntoJs, Value};

use super::opaque::Opaque;

/// One of the server's objects in a script's hands. It lives as long as any script holds it.
#[derive(Clone)]
pub(super) enum Handle {
    Connection(Connection),
    Transaction(Transaction),
    Delivery(Delivery),
    /// The parts of a message.
    Mime(MimeTree),
    /// One of them.
    Part(MimeTree, usize),
    /// A header of no message, which a script made.
    Header(Rc<RefCell<Header>>),
}

impl<'js> IntoJs<'js> for Handle {
    fn into_js(self, ctx: &Ctx<'js>) -> rquickjs::Result<Value<'js>> {
        Class::instance(ctx.clone(), Opaque(self)).map(Class::into_value)
    }
}

impl<'js> FromJs<'js> for Handle {
    fn from_js(ctx: &Ctx<'js>, value: Value<'js>) -> rquickjs::Result<Handle> {
        match Class::<Opaque<Handle>>::from_value(&value) {
            Ok(class) => Ok(class.borrow().0.clone()),
            Err(_) => Err(Exception::throw_type(
                ctx,
                "not one of the server's objects",
            )),
        }
    }
}

impl Handle {
    pub(super) fn connection(self, ctx: &Ctx<'_>) -> rquickjs::Result<Connection> {
        match self {
            Handle::Connection(connection) => Ok(connection),
            _ => Err(Exception::throw_type(ctx, "not a connection")),
        }
    }

    pub(super) fn transaction(self, ctx: &Ctx<'_>) -> rquickjs::Result<Transaction> {
        match self {
            Handle::Transaction(transaction) => Ok(transaction),
            _ => Err(Exception::throw_type(ctx, "not a transaction")),
        }
    }

    pub(super) fn mime(self, ctx: &Ctx<'_>) -> rquickjs::Result<MimeTree> {
        match self {
            Handle::Mime(tree) => Ok(tree),
            _ => Err(Exception::throw_type(ctx, "not the parts of a message")),
        }
    }

    /// Reads a header: the message's, a part's or a script's own.
    pub(super) fn header<T>(
        &self,
        ctx: &Ctx<'_>,
        read: impl FnOnce(&Header) -> T,
    ) -> rquickjs::Result<T> {
        match self {
            Handle::Transaction(txn) => Ok(read(&txn.header.borrow())),
            Handle::Header(header) => Ok(read(&header.borrow())),
            Handle::Part(tree, index) => match tree.part(*index) {
                Some(part) => Ok(read(part.header())),
                None => Err(Exception::throw_type(ctx, "no such part")),
            },
            _ => Err(Exception::throw_type(ctx, "not a header")),
        }
    }

    /// Changes a header; that of a part stays as it came.
    pub(super) fn header_mut<T>(
        &self,
        ctx: &Ctx<'_>,
        change: impl FnOnce(&mut Header) -> T,
    ) -> rquickjs::Result<T> {
        match self {
            Handle::Transaction(txn) => Ok(change(&mut txn.header.borrow_mut())),
            Handle::Header(header) => Ok(change(&mut header.borrow_mut())),
            _ => Err(Exception::throw_type(ctx, "this header cannot be changed")),
        }
    }

    pub(super) fn delivery(self, ctx: &Ctx<'_>) -> rquickjs::Result<Delivery> {
        match self {
            Handle::Delivery(delivery) => Ok(delivery),
            _ => Err(Exception::throw_type(ctx, "not a queue item")),
        }
    }
}
