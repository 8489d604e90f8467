const old = { user: () => 'called' }
// old.user()
export default `${old.user()} 'old.user()'` + 'a-b'.replace(/-/g, '+')
