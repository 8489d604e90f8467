// Programs are not started from within a mail server's event loop: every call says so.

for (const name of ['exec', 'execFile', 'execFileSync', 'execSync', 'fork', 'spawn', 'spawnSync']) {
    exports[name] = () => {
        throw Object.assign(new Error(`child_process.${name} is not available`), { code: 'ERR_FEATURE_UNAVAILABLE_ON_PLATFORM' })
    }
}
