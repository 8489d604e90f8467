export default 'spaced'
