throw Object.assign(new RangeError('no'), { code: 'EMINE' })
