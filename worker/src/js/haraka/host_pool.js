// Hosts in turn, without those that have failed lately (`HostPool` of haraka-net-utils).

const net = require('net')

// A dead host that has not answered by then is still dead.
const PROBE_MS = 200

class HostPool {
    // `host:port` pairs, separated by commas or blanks; port 25 where none is given.
    constructor(list, retry_secs, options = {}) {
        const { parseSockaddr } = require('haraka-net-utils')
        const hosts = String(list ?? '')
            .trim()
            .split(/[\s,]+/)
            .map((text) => {
                try {
                    const { host = '', port } = parseSockaddr(text, 25)
                    return { host, port: port || 25 }
                } catch {
                    return { host: text, port: 25 }
                }
            })
        this.hostports_str = list
        this.hosts = options.shuffle === false ? hosts : require('haraka-utils').shuffle(hosts)
        this.dead_hosts = {}
        this.last_i = 0
        this.retry_secs = retry_secs || 10
        this.logger = options.logger
    }

    // It is left out until it answers again, which is looked at every `retry_secs`.
    failed(host, port) {
        const key = `${host}:${port}`
        this.dead_hosts[key] = true
        const again = () => setTimeout(() => this.probe_dead_host(host, port, dead, alive), this.retry_secs * 1000)
        const dead = () => {
            this.logger?.warn?.(`${host} ${key} is still dead, will retry in ${this.retry_secs} secs`)
            this.dead_hosts[key] = true
            again()
        }
        const alive = () => {
            this.logger?.info?.(`${host} ${key} is back! adding back into pool`)
            delete this.dead_hosts[key]
        }
        again()
    }

    probe_dead_host(host, port, dead, alive) {
        this.logger?.info?.(`probing dead host ${host}:${port}`)
        const socket = this.get_socket()
        let told = false
        const tell = (what) => {
            socket.destroy()
            if (!told) what()
            told = true
        }
        socket.setTimeout(PROBE_MS, () => tell(dead))
        socket.on('error', () => tell(dead))
        socket.connect(port, host, () => tell(alive))
    }

    get_socket() {
        return new net.Socket()
    }

    // The next that is not known to be dead; if all are, the next all the same.
    get_host() {
        const first = this.last_i + 1 >= this.hosts.length ? 0 : this.last_i + 1
        for (let i = 0; i < this.hosts.length; i += 1) {
            const at = (first + i) % this.hosts.length
            const { host, port } = this.hosts[at]
            if (!this.dead_hosts[`${host}:${port}`]) {
                this.last_i = at
                return this.hosts[at]
            }
        }
        this.logger?.warn?.(`no working hosts found, retrying a dead one, config is '${this.hostports_str}'`)
        this.last_i = first
        return this.hosts[first]
    }
}

module.exports = HostPool
