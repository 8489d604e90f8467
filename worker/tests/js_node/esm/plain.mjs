export default 'plain'
export const named = 1
