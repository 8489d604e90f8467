//! The handlers of the native plugins, called as dispatch calls them, over services that are faked.

mod in_host_list;
mod maildir;
mod queue;
mod relay;
mod site;
mod smtp_forward;
