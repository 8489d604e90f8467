// `haraka-dsn` and `require('./dsn')`: replies with enhanced status codes (RFC 3463, RFC 7372).

const { sanitize } = require('haraka-utils')

// By subject and detail: method, usual code, text where the plugin gives none.
const TABLE = `
0.0 unspecified 450 Other undefined status
1.0 addr_unspecified 450 Other address status
1.1 addr_bad_dest_mbox 550 Bad destination mailbox address
1.2 addr_bad_dest_system 550 Bad destination system address
1.3 addr_bad_dest_syntax 550 Bad destination mailbox address syntax
1.4 addr_dest_ambigous 450 Destination mailbox address ambiguous
1.5 addr_rcpt_ok 250 Destination address valid
1.6 addr_mbox_moved 550 Destination mailbox has moved, No forwarding address
1.7 addr_bad_from_syntax 550 Bad sender's mailbox address syntax
1.8 addr_bad_from_system 550 Bad sender's system address
1.9 - 450 Message relayed to non-compliant mailer
1.10 addr_null_mx 556 Recipient address has null MX
2.0 mbox_unspecified 450 Other or undefined mailbox status
2.1 mbox_disabled 550 Mailbox disabled, not accepting messages
2.2 mbox_full 450 Mailbox full
2.3 mbox_msg_too_long 550 Message length exceeds administrative limit
2.4 mbox_list_expansion_problem 450 Mailing list expansion problem
3.0 sys_unspecified 450 Other or undefined mail system status
3.1 sys_disk_full 450 Mail system full
3.2 sys_not_accepting_mail 450 System not accepting network messages
3.3 sys_not_supported 450 System not capable of selected features
3.4 sys_msg_too_big 550 Message too big for system
3.5 sys_incorrectly_configured 450 System incorrectly configured
3.6 - 450 Requested priority was changed
4.0 net_unspecified 450 Other or undefined network or routing status
4.1 net_no_answer 450 No answer from host
4.2 net_bad_connection 450 Bad connection
4.3 net_directory_server_failed 450 Directory server failure
4.4 net_unable_to_route 550 Unable to route
4.5 net_system_congested 450 Mail system congestion
4.6 net_routing_loop 550 Routing loop detected
4.7 net_delivery_time_expired 550 Delivery time expired
5.0 proto_unspecified 450 Other or undefined protocol status
5.1 proto_invalid_command 550 Invalid command
5.2 proto_syntax_error 550 Syntax error
5.3 proto_too_many_rcpts 450 Too many recipients
5.4 proto_invalid_cmd_args 550 Invalid command arguments
5.5 proto_wrong_version 450 Wrong protocol version
5.6 auth_exch_too_long 500 Authentication Exchange line is too long
6.0 media_unspecified 450 Other or undefined media error
6.1 media_unsupported 550 Media not supported
6.2 media_conv_prohibited 550 Conversion required and prohibited
6.3 media_conv_unsupported 450 Conversion required but not supported
6.4 media_conv_lossy 450 Conversion with loss performed
6.5 media_conv_failed 450 Conversion failed
6.6 - 450 Message content not available
7.0 sec_unspecified 450 Other or undefined security status
7.1 sec_unauthorized 550 Delivery not authorized, message refused
7.2 sec_list_expn_prohibited 550 Mailing list expansion prohibited
7.3 sec_conv_failed 550 Security conversion required but not possible
7.4 sec_feature_unsupported 550 Security features not supported
7.5 sec_crypto_failure 550 Cryptographic failure
7.6 sec_crypto_algo_unsupported 450 Cryptographic algorithm not supported
7.7 sec_msg_integrity_failure 550 Message integrity failure
7.8 auth_invalid 535 Authentication credentials invalid
7.9 auth_too_weak 534 Authentication mechanism is too weak
7.10 - 450 Encryption Needed
7.11 auth_crypt_required 538 Encryption required for requested authentication mechanism
7.12 auth_pass_transition_needed 432 A password transition is needed
7.20 sec_dkim_no_pass 550 No passing DKIM signature found
7.21 sec_dkim_not_acceptable 550 No acceptable DKIM signature found
7.22 sec_dkim_no_author_match 550 No valid author-matched DKIM signature found
7.23 sec_spf_fail 550 SPF validation failed
7.24 sec_spf_error 451 SPF validation error
7.25 sec_rdns_fail 550 Reverse DNS validation failed
7.26 sec_multi_auth_fail 550 Multiple authentication checks failed
7.27 sec_null_mx_sender 550 Sender address has null MX
`
    .trim()
    .split('\n')
    .map((line) => /^(\d+)\.(\d+) (\S+) (\d+) (.*)$/.exec(line).slice(1))

// Those that share a status with another and have a text of their own.
const NAMED = [
    ['no_such_user', 550, 1, 1, 'No such user'],
    ['temp_resolver_failed', 450, 4, 3, 'Temporary address resolution failure'],
    ['too_many_hops', 550, 4, 6, 'Too many hops'],
    ['bad_sender_ip', 550, 7, 1, 'Bad sender IP'],
    ['relaying_denied', 550, 7, 1, 'Relaying denied'],
    ['auth_succeeded', 235, 7, 0, 'Authentication Succeeded'],
    ['auth_temp_fail', 454, 7, 0, 'Temporary authentication failure'],
    ['auth_required', 530, 7, 0, 'Authentication required'],
]

const texts = new Map(TABLE.map(([subject, detail, , , text]) => [`${subject}.${detail}`, text]))

class DSN {
    constructor(code, msg, def, subject, detail) {
        this.code = /^[245]\d{2}/.test(code) ? code : def || 450
        this.msg = msg
        this.cls = parseInt(String(this.code)[0], 10)
        this.sub = subject || 0
        this.det = detail || 0
        const status = `${this.cls}.${this.sub}.${this.det}`
        this.default_msg = texts.get(`${this.sub}.${this.det}`) ?? ''
        const line = (text) => `${status} ${sanitize(text)}`
        this.reply = Array.isArray(msg) ? msg.map(line) : line(msg || this.default_msg)
    }

    toString() {
        return Array.isArray(this.reply) ? this.reply.join('\n') : this.reply
    }

    static create(code, msg, subject, detail) {
        return new DSN(code, msg, null, subject, detail)
    }
}

for (const [subject, detail, name, code] of TABLE) {
    if (name !== '-') DSN[name] = (msg, given) => new DSN(given, msg, Number(code), Number(subject), Number(detail))
}
for (const [name, code, subject, detail, text] of NAMED) {
    DSN[name] = (msg, given) => new DSN(given, msg || text, code, subject, detail)
}

module.exports = DSN
